# What clubSandwich makes of the cases of sandwich_mpmath.json, taken by running it.
#
#   Rscript make_sandwich.R              sandwich_clubsandwich.json
#
# Working model: tau2 held fixed, weights 1/(v + tau2). No code of metafor or clubSandwich was read.

suppressPackageStartupMessages({
  library(metafor)
  library(clubSandwich)
  library(jsonlite)
})

args <- grep("^--file=", commandArgs(FALSE), value = TRUE)
here <- if (length(args)) dirname(normalizePath(sub("^--file=", "", args[1]))) else "."
source(file.path(here, "json17.R"))
cases <- read_json(file.path(here, "sandwich_mpmath.json"), simplifyVector = TRUE)$cases

solve_case <- function(case) {
  y <- case$y
  v <- case$v
  X <- as.matrix(case$exog)
  theta <- v + case$tau2
  d <- data.frame(y = y, w = 1 / theta, g = case$groups)
  for (j in seq_len(ncol(X))) d[[paste0("x", j)]] <- X[, j]
  fit <- rma(y, v, mods = X, intercept = FALSE, tau2 = case$tau2, test = "t",
             control = list(tau2.min = 0))
  R <- matrix(unlist(case$joint), ncol = ncol(X))
  types <- c("CR0", "CR1S", "CR2", "CR3")
  setNames(lapply(types, function(type) {
    tryCatch({
      V <- vcovCR(fit, cluster = d$g, type = type)
      b <- coef_test(fit, vcov = V, test = "Satterthwaite")
      out <- list(se = vec(b$SE), df = vec(b$df_Satt), p = vec(b$p_Satt),
                  vcov = unname(as.matrix(V)))
      w <- tryCatch(Wald_test(fit, constraints = R, vcov = V, test = "HTZ"),
                    error = function(e) NULL)
      if (!is.null(w)) {
        out$HTZ <- list(F = w$Fstat, df_num = w$df_num, df_denom = w$df_denom, p = w$p_val)
      }
      out
    }, error = function(e) list(error = conditionMessage(e)))
  }), types)
}

meta <- list(
  script = "make_sandwich.R",
  R = as.character(getRversion()),
  packages = versions(c("metafor", "clubSandwich", "jsonlite"))
)
out <- suppressWarnings(lapply(cases, function(case) {
  tryCatch(solve_case(case), error = function(e) list(error = conditionMessage(e)))
}))
write_json17(list(meta = meta, cases = out), file.path(here, "sandwich_clubsandwich.json"))
