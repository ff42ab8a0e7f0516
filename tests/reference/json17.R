# JSON at 17 significant digits, for the scripts beside this one.

# jsonlite stops at 15 significant digits, which does not give the double back.

vec <- function(x) structure(list(as.vector(x)), class = "vec")

num <- function(x) {
  short <- sprintf("%.15g", x)
  out <- ifelse(as.numeric(short) == x, short, sprintf("%.17g", x))
  out[is.na(x)] <- "null"
  out[is.infinite(x)] <- ifelse(x[is.infinite(x)] > 0, "\"inf\"", "\"-inf\"")
  out
}

str_json <- function(x) {
  vapply(enc2utf8(as.character(x)), function(s) as.character(toJSON(unbox(s))), "")
}

atom <- function(x) {
  if (is.character(x)) ifelse(is.na(x), "null", str_json(x))
  else if (is.logical(x)) ifelse(is.na(x), "null", ifelse(x, "true", "false"))
  else suppressWarnings(num(as.numeric(x)))
}

ser <- function(x, depth = 0) {
  if (is.null(x)) return("null")
  if (inherits(x, "vec")) return(paste0("[", paste(atom(x[[1]]), collapse = ", "), "]"))
  if (is.matrix(x)) {
    rows <- apply(x, 1, function(r) paste0("[", paste(atom(r), collapse = ", "), "]"))
    return(paste0("[", paste(rows, collapse = ", "), "]"))
  }
  if (is.list(x)) {
    if (length(x) == 0) return(if (is.null(names(x))) "[]" else "{}")
    parts <- vapply(x, ser, "", depth = depth + 1)
    pad <- paste0("\n", strrep(" ", depth + 1))
    if (!is.null(names(x))) {
      parts <- paste0(str_json(names(x)), ": ", parts)
      return(paste0("{", pad, paste(parts, collapse = paste0(",", pad)),
                    "\n", strrep(" ", depth), "}"))
    }
    return(paste0("[", paste(parts, collapse = ", "), "]"))
  }
  stopifnot(length(x) == 1)
  atom(x)
}

# Everything of one script goes to one file beside it.
write_json17 <- function(x, path) {
  con <- file(path, "wb")
  on.exit(close(con))
  writeLines(enc2utf8(ser(x)), con, sep = "\n", useBytes = TRUE)
}

versions <- function(packages) {
  lapply(setNames(nm = packages), function(p) as.character(packageVersion(p)))
}
