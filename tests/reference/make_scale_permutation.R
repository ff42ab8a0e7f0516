# Reference values for permutation tests of location-scale models, by running metafor.
#
#   Rscript make_scale_permutation.R      scale_permutation.json
#
# permutest(exact = TRUE) of small data sets whose moderators recur, so that there are few distinct
# permutations; its null distributions stand in whatever order it lists them.

suppressMessages({
  library(metafor)
  library(jsonlite)
})

args <- commandArgs(trailingOnly = FALSE)
here <- dirname(normalizePath(sub("^--file=", "", grep("^--file=", args, value = TRUE)[1])))
source(file.path(here, "json17.R"))

y <- c(0.91, -1.32, 0.18, 2.05, -0.47, 1.61, -2.24, 0.66)
v <- c(0.063, 0.041, 0.089, 0.052, 0.029, 0.076, 0.055, 0.034)
x <- c(0, 1, 0, 0, 1, 0, 1, 1)
z <- c(0, 1, 0, 2, 0, 1, 2, 0)
g <- c(0, 1, 0, 1, 0, 1, 1, 0)

cases <- list(
  signs = list(X = cbind(1, 0)[rep(1, 8), 1, drop = FALSE], Z = cbind(1, g)),
  both = list(X = cbind(1, x), Z = cbind(1, z))
)

one <- function(case, method) {
  control <- list(optimizer = "optim", optmethod = "BFGS", reltol = 1e-15, maxit = 5000)
  intercept <- ncol(case$X) == 1
  fit <- if (intercept) rma(y, v, scale = case$Z, method = method, control = control)
         else rma(y, v, mods = case$X, intercept = FALSE, scale = case$Z, method = method, control = control)
  # starts at which the likelihood is undefined are passed over by the optimizer
  test <- suppressWarnings(permutest(fit, exact = TRUE, progbar = FALSE, retpermdist = TRUE))
  rows <- function(frame) unname(as.matrix(frame))
  list(z = vec(test$zval), z_scale = vec(test$zval.alpha), pvalues = vec(test$pval), scale_pvalues = vec(test$pval.alpha),
       omnibus = if (intercept) NULL else test$QM, omnibus_pvalue = if (intercept) NULL else test$QMp,
       scale_omnibus = test$QS, scale_omnibus_pvalue = test$QSp,
       null = rows(test$zval.perm), scale_null = rows(test$zval.alpha.perm),
       omnibus_null = if (intercept) NULL else vec(test$QM.perm), scale_omnibus_null = vec(test$QS.perm))
}

out <- lapply(cases, function(case) {
  c(list(y = vec(y), v = vec(v), X = unname(case$X), Z = unname(case$Z)),
    list(REML = one(case, "REML")))
})
meta <- list(script = "make_scale_permutation.R", R = as.character(getRversion()),
             packages = versions(c("metafor", "jsonlite")))
write_json17(list(meta = meta, cases = out), file.path(here, "scale_permutation.json"))
