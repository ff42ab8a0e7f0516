# Deletion diagnostics, fits without each study and cumulative fits, taken by running metafor.
#
#   Rscript make_influence.R             influence.json
#
# Iterations are run to convergence; metafor estimates tau2 anew without each study.

suppressMessages({
  library(metafor)
  library(metadat)
  library(jsonlite)
})

args <- commandArgs(trailingOnly = FALSE)
here <- dirname(normalizePath(sub("^--file=", "", grep("^--file=", args, value = TRUE)[1])))
source(file.path(here, "json17.R"))

methods <- c("REML", "ML", "DL", "PM", "EB", "HE", "SJ", "HS")
control <- list(threshold = 1e-12, maxiter = 20000, tol = 1e-14)

bcg <- escalc("RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
egger <- escalc("OR", ai = ai, n1i = n1i, ci = ci, n2i = n2i, data = dat.egger2001)
raud <- dat.raudenbush1985
raud$weeksc <- pmin(raud$weeks, 3)
bang <- dat.bangertdrowns2004
hack <- dat.hackshaw1998

as_case <- function(d, names, order = NULL) {
  X <- cbind(1, as.matrix(as.data.frame(d)[names]))
  list(y = as.numeric(d$yi), v = as.numeric(d$vi), X = unname(X), moderators = names,
       order = if (!is.null(order)) as.numeric(d[[order]]))
}

cases <- list(
  bcg = as_case(bcg, character(0), "year"),
  bcg_ablat = as_case(bcg, "ablat"),
  bcg_ablat_year = as_case(bcg, c("ablat", "year")),
  # tau2 is 0, with all studies and without most of them
  raudenbush_weeks = as_case(raud, "weeksc"),
  raudenbush = as_case(raud, character(0), "year"),
  bangertdrowns_grade = as_case(bang, "grade"),
  hackshaw = as_case(hack, character(0), "year"),
  egger = as_case(egger, character(0), "year"),
  # four studies and two coefficients: one degree of freedom is left without a study
  bcg_k_is_p_plus_2 = as_case(bcg[c(1, 4, 7, 12), ], "ablat")
)

fit <- function(case, method, test, rows = seq_along(case$y)) {
  X <- case$X[rows, , drop = FALSE]
  if (ncol(X) == 1) {
    rma(case$y[rows], case$v[rows], method = method, test = test, control = control)
  } else {
    rma(case$y[rows], case$v[rows], mods = X[, -1, drop = FALSE], method = method, test = test,
        control = control)
  }
}

full <- function(res) {
  list(beta = vec(res$beta), se = vec(res$se), statistic = vec(res$zval), p = vec(res$pval),
       tau2 = res$tau2, tau2_se = res$se.tau2, QE = res$QE, I2 = res$I2, H2 = res$H2)
}

diagnostics <- function(res) {
  inf <- suppressWarnings(influence(res, progbar = FALSE))
  names <- c("rstudent", "dffits", "cook.d", "cov.r", "tau2.del", "QE.del", "hat", "weight")
  out <- lapply(setNames(nm = names), function(f) vec(inf$inf[[f]]))
  out$dfbs <- lapply(seq_len(res$p), function(j) vec(inf$dfbs[[j]]))
  rs <- rstandard(res)
  rt <- suppressWarnings(rstudent(res, progbar = FALSE))
  out$rstandard <- list(resid = vec(rs$resid), se = vec(rs$se), z = vec(rs$z))
  out$rstudent_deleted <- list(resid = vec(rt$resid), se = vec(rt$se), z = vec(rt$z))
  out
}

# every deletion and every prefix by a fit of its own, models with moderators included
refits <- function(case, method, test, sets) {
  found <- lapply(sets, function(rows) {
    tryCatch(suppressWarnings(fit(case, method, test, rows)), error = function(e) NULL)
  })
  p <- ncol(case$X)
  pick <- function(f) vec(vapply(found, function(r) if (is.null(r)) NA_real_ else f(r), 0))
  by_term <- function(f) {
    lapply(seq_len(p), function(j) {
      pick(function(r) if (length(r$beta) < p) NA_real_ else f(r)[j])
    })
  }
  list(coef = by_term(function(r) r$beta), se = by_term(function(r) r$se),
       pvalue = by_term(function(r) r$pval),
       tau2 = pick(function(r) r$tau2), I2 = pick(function(r) r$I2), QE = pick(function(r) r$QE))
}

try_list <- function(f) tryCatch(f(), error = function(e) list(error = conditionMessage(e)))

solve_case <- function(case) {
  k <- length(case$y)
  p <- ncol(case$X)
  order <- if (is.null(case$order)) seq_len(k) else order(case$order)
  runs <- list()
  for (method in methods) for (test in c("z", "knha")) {
    runs[[method]][[test]] <- try_list(function() {
      res <- suppressWarnings(fit(case, method, test))
      out <- list(full = full(res), influence = try_list(function() diagnostics(res)))
      without <- lapply(seq_len(k), function(i) setdiff(seq_len(k), i))
      out$deleted <- refits(case, method, test, without)
      if (method %in% c("REML", "DL", "PM")) {
        # from the first that leaves a degree of freedom
        prefixes <- lapply((p + 1):k, function(n) order[seq_len(n)])
        out$cumulative <- refits(case, method, test, prefixes)
      }
      out
    })
  }
  list(y = vec(case$y), v = vec(case$v), exog = case$X, moderators = vec(case$moderators),
       order = if (!is.null(case$order)) vec(case$order), k = k, p = p, fits = runs)
}

meta <- list(
  script = "make_influence.R",
  R = as.character(getRversion()),
  packages = versions(c("metafor", "metadat", "jsonlite")),
  control = "threshold=1e-12, maxiter=20000, tol=1e-14"
)
solved <- lapply(cases, solve_case)
write_json17(list(meta = meta, cases = solved), file.path(here, "influence.json"))
