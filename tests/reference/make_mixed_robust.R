# Reference values of robust standard errors and of containment degrees of freedom of models with
# dependent effects, by running clubSandwich and metafor at the REML estimates of mixed.json.
#
#   Rscript make_mixed_robust.R      mixed_robust.json

suppressMessages({
  library(metafor)
  library(clubSandwich)
  library(jsonlite)
})

args <- commandArgs(trailingOnly = FALSE)
script <- sub("^--file=", "", grep("^--file=", args, value = TRUE)[1])
here <- dirname(normalizePath(script))
source(file.path(here, "json17.R"))

stored <- fromJSON(file.path(here, "mixed.json"), simplifyVector = FALSE)$cases
wanted <- c("konstantopoulos2011", "konstantopoulos2011_year", "berkey1998", "berkey1998_year",
            "bcg_arms", "assink2016", "assink2016_deltype", "assink2016_che", "tannersmith2016",
            "fine1993_ar", "kalaian1996")
u <- function(x) unlist(x)

cases <- list()
for (name in wanted) {
  case <- stored[[name]]
  k <- length(case$y)
  X <- do.call(rbind, lapply(case$X, u))
  colnames(X) <- paste0("x", seq_len(ncol(X)))
  if (is.null(case$V)) V <- diag(u(case$v)) else {
    V <- matrix(0, k, k)
    for (b in case$V) {
      rows <- u(b$rows) + 1
      V[rows, rows] <- do.call(rbind, lapply(b$matrix, u))
    }
  }
  data <- data.frame(y = u(case$y))
  random <- list()
  fixed <- list()
  fit <- case$fits$REML
  for (i in seq_along(case$terms)) {
    term <- case$terms[[i]]
    data[[paste0("g", i)]] <- factor(u(term$groups))
    if (is.null(term$levels)) {
      random <- c(random, list(as.formula(paste0("~ 1 | g", i))))
    } else {
      if (term$structure %in% c("ar", "har")) data$inner <- as.numeric(u(term$times))[match(u(term$levels), u(term$order))]
      else data$inner <- factor(u(term$levels), levels = u(term$order))
      random <- c(random, list(as.formula(paste0("~ inner | g", i))))
      fixed$struct <- toupper(term$structure)
    }
  }
  if (!is.null(u(fit$sigma2))) fixed$sigma2 <- u(fit$sigma2)
  sizes <- vapply(case$terms, function(t) length(unique(u(t$groups))), 1)
  cluster <- data[[paste0("g", which.min(sizes))]]
  call <- c(list(yi = data$y, V = V, mods = X, intercept = FALSE, random = random, data = data,
                 test = "t", dfs = "contain"), fixed)
  res <- NULL
  for (tolerance in c(1e-12, 1e-11, 1e-10, 1e-9, 1e-8)) if (is.null(res)) {
    call$control <- list(rel.tol = tolerance, iter.max = 2000, eval.max = 4000)
    res <- tryCatch(suppressWarnings(do.call(rma.mv, call)), error = function(e) NULL)
  }
  entry <- list(cluster = vec(as.character(cluster)), beta = vec(coef(res)), ddf = vec(res$ddf), CR = list())
  joint <- if (ncol(X) > 1) seq_len(ncol(X))[-1] else 1
  for (type in c("CR0", "CR1p", "CR1S", "CR2", "CR3")) {
    cov <- vcovCR(res, cluster = cluster, type = type)
    out <- list(vcov = as.matrix(cov))
    if (type %in% c("CR2", "CR3")) {
      out$df <- vec(coef_test(res, vcov = cov, test = "Satterthwaite")$df_Satt)
      test <- Wald_test(res, constraints = constrain_zero(joint), vcov = cov, test = "HTZ")
      out$htz <- vec(c(test$Fstat, test$df_num, test$df_denom, test$p_val))
    }
    entry$CR[[type]] <- out
  }
  cases[[name]] <- entry
  message(name)
}
meta <- list(script = "make_mixed_robust.R", R = as.character(getRversion()),
             metafor = as.character(packageVersion("metafor")),
             clubSandwich = as.character(packageVersion("clubSandwich")))
writeLines(ser(list(meta = meta, cases = cases)), file.path(here, "mixed_robust.json"))
