# Reference values for deletion diagnostics, taken by running metafor.
#
#   Rscript make_influence.R             influence.json (needs data.json, which make_reference.R writes)
#
# Each case holds its outcomes, variances and moderators, so that nothing else is needed to use it.
# Beside what influence(), rstandard() and baujat() return, the model is fitted by rma() to the
# studies without one study, without a group of them, and to the first studies in an order: what
# leave1out() and cumul() do, which know no moderators. Those two are run where there are none.

suppressMessages({
  library(metafor)
  library(jsonlite)
})

args <- commandArgs(trailingOnly = FALSE)
here <- dirname(normalizePath(sub("^--file=", "", grep("^--file=", args, value = TRUE)[1])))
source(file.path(here, "json17.R"))

tight <- list(threshold = 1e-12, maxiter = 20000, tol = 1e-14)

# ---------------------------------------------------------------- cases

data <- fromJSON(file.path(here, "data.json"), simplifyVector = TRUE)

stored <- function(name) {
  case <- data$cases[[name]]
  frame <- data$frames[[case$frame]]
  X <- as.matrix(case$exog)
  dimnames(X) <- NULL
  list(y = as.numeric(frame$yi), v = as.numeric(frame$vi), X = X)
}

bcg <- stored("bcg_ablat_year")
cases <- list(
  bcg_ablat = list(y = bcg$y, v = bcg$v, X = bcg$X[, 1:2]),
  bcg_intercept = stored("bcg_intercept"),
  bcg_alloc = stored("bcg_alloc"),
  normand_intercept = stored("normand_intercept"),
  hackshaw_year_design = stored("hackshaw_year_design"),
  molloy_multi = stored("molloy_multi"),
  lee_year = stored("lee_year"),
  raudenbush_weeksc = stored("raudenbush_weeksc"),
  linde_interaction = stored("linde_interaction"),
  # a study that alone has a level: without it the design loses a column
  alone = list(y = bcg$y, v = bcg$v, X = cbind(1, bcg$X[, 2], c(1, rep(0, 12))))
)

methods <- c("REML", "ML", "DL", "PM", "HE", "SJ", "HS", "EE")
tests <- c("z", "knha", "adhoc")

fit <- function(s, method, test, rows = seq_along(s$y)) {
  X <- s$X[rows, , drop = FALSE]
  suppressWarnings(rma(s$y[rows], s$v[rows], mods = X, intercept = FALSE, method = method,
                       test = test, control = tight))
}

rows_of <- function(r) {
  list(coef = vec(r$beta), se = vec(r$se), statistic = vec(r$zval), pvalue = vec(r$pval),
       ci_lower = vec(r$ci.lb), ci_upper = vec(r$ci.ub), tau2 = r$tau2, i2 = r$I2 / 100, q = r$QE)
}

full_rank <- function(s, rows) {
  X <- s$X[rows, , drop = FALSE]
  length(rows) > ncol(X) && qr(X)$rank == ncol(X)
}

refits <- function(s, method, test, sets) {
  lapply(sets, function(rows) {
    if (full_rank(s, rows)) rows_of(fit(s, method, test, rows)) else NULL
  })
}

part <- function(s, method, test) {
  res <- fit(s, method, test)
  inf <- suppressWarnings(influence(res, progbar = FALSE))
  fields <- c("rstudent", "dffits", "cook.d", "cov.r", "tau2.del", "QE.del", "hat")
  out <- lapply(setNames(nm = fields), function(f) vec(inf$inf[[f]]))
  out$dfbetas <- lapply(seq_len(res$p), function(j) vec(inf$dfbs[[j]]))
  out$influential <- vec(inf$is.infl)
  out$rstandard <- vec(rstandard(res)$z)
  pdf(NULL)
  xy <- suppressWarnings(baujat(res, progbar = FALSE))
  invisible(dev.off())
  xy <- xy[order(xy$ids), ]
  out$baujat <- list(ids = vec(xy$ids), x = vec(xy$x), y = vec(xy$y))
  k <- length(s$y)
  if (method %in% c("REML", "SJ")) {
    without <- lapply(seq_len(k), function(i) seq_len(k)[-i])
    out$leave_one_out <- refits(s, method, test, without)
  }
  out
}

groups_of <- function(k) (seq_len(k) - 1) %/% 3

deleted_groups <- function(s, method, test) {
  res <- fit(s, method, test)
  g <- groups_of(length(s$y))
  lapply(unique(g), function(label) {
    rows <- which(g != label)
    if (!full_rank(s, rows)) return(NULL)
    without <- fit(s, method, test, rows)
    delta <- coef(res) - coef(without)
    list(cook = drop(t(delta) %*% solve(vcov(res)) %*% delta),
         cov_ratio = det(vcov(without)) / det(vcov(res)),
         tau2 = without$tau2, q = without$QE, params = vec(coef(without)))
  })
}

# from the largest sampling variance to the smallest
cumulated <- function(s, method, test) {
  at <- order(-s$v)
  refits(s, method, test, lapply(seq_along(at), function(n) at[seq_len(n)]))
}

own <- function(s, method, test) {
  if (ncol(s$X) > 1) return(NULL)
  res <- suppressWarnings(rma(s$y, s$v, method = method, test = test, control = tight))
  frame <- function(x) lapply(
    list(coef = x$estimate, se = x$se, pvalue = x$pval, ci_lower = x$ci.lb, ci_upper = x$ci.ub,
         tau2 = x$tau2, i2 = x$I2 / 100, q = x$Q), vec)
  list(leave1out = frame(suppressWarnings(leave1out(res, progbar = FALSE))),
       cumul = frame(suppressWarnings(cumul(res, order = -s$v, progbar = FALSE))))
}

out <- lapply(cases, function(s) {
  found <- list(y = vec(s$y), v = vec(s$v), X = s$X)
  found$fits <- lapply(setNames(nm = methods), function(method) {
    used <- if (method == "REML") tests else if (method == "EE") "z" else "knha"
    lapply(setNames(nm = used), function(test) {
      piece <- part(s, method, test)
      piece$groups <- deleted_groups(s, method, test)
      if (method == "DL" || (method == "REML" && test == "knha")) piece$cumulative <- cumulated(s, method, test)
      if (method %in% c("REML", "PM")) piece$metafor <- own(s, method, test)
      piece
    })
  })
  found
})

meta <- list(
  script = "make_influence.R",
  R = as.character(getRversion()),
  packages = versions(c("metafor", "jsonlite")),
  control = "threshold=1e-12, maxiter=20000, tol=1e-14"
)
write_json17(list(meta = meta, cases = out), file.path(here, "influence.json"))
