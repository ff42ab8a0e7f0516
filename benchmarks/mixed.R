# Seconds of processor inside R of three-level and multivariate models, and their answers.
#
#   Rscript mixed.R lme4 table.csv repeats      lme4's deviance function, built beforehand
#   Rscript mixed.R lme4-default table.csv repeats   the same with the tolerances of lme4
#   Rscript mixed.R metafor table.csv repeats   rma.mv(sparse=TRUE)
#   Rscript mixed.R berkey table.csv repeats    rma.mv of two outcomes a trial
#
# table.csv has columns y, x, v, study, es; or y, outcome, trial, v1, v2.

args <- commandArgs(trailingOnly = TRUE)
d <- read.csv(args[2])
repeats <- as.integer(args[3])
say <- function(name, ...) cat(name, sprintf("%.12g", c(...)), "\n")

if (args[1] %in% c("lme4", "lme4-default")) {
  suppressMessages(library(lme4))
  d$study <- factor(d$study); d$es <- factor(d$es)
  w <- 1 / d$v
  control <- lmerControl(check.nobs.vs.nlev = "ignore", check.nobs.vs.nRE = "ignore")
  made <- lFormula(y ~ x + (1 | study) + (1 | es), d, weights = w, REML = TRUE, control = control)
  f <- do.call(mkLmerDevfun, made)
  inside <- environment(f)
  # the residual variance is known: sigma is 1, not profiled out
  criterion <- function(theta) {
    f(theta)
    inside$pp$ldL2() + inside$pp$ldRX2() + inside$resp$wrss() + inside$pp$sqrL(1)
  }
  # its own tolerances leave the fifth digit of the variances wrong
  tolerances <- list()
  if (args[1] == "lme4") tolerances <- list(xtol_abs = 1e-8, xtol_rel = 0, ftol_abs = 1e-16, ftol_rel = 0)
  times <- numeric(repeats)
  for (i in seq_len(repeats)) {
    start <- sum(proc.time()[c("user.self", "sys.self")])
    opt <- nloptwrap(rep(1, 2), criterion, lower = c(0, 0), upper = c(Inf, Inf), control = tolerances)
    times[i] <- sum(proc.time()[c("user.self", "sys.self")]) - start
  }
  names <- names(made$reTrms$cnms)
  say("seconds", times)
  say("components", opt$par[match(c("study", "es"), names)]^2)
  say("evaluations", opt$feval)
}
if (args[1] %in% c("metafor", "berkey")) {
  suppressMessages(library(metafor))
  times <- numeric(repeats)
  if (args[1] == "berkey") {
    V <- lapply(split(d, d$trial), function(t) as.matrix(t[, c("v1", "v2")]))
    V <- bldiag(V)
  }
  for (i in seq_len(repeats)) {
    start <- sum(proc.time()[c("user.self", "sys.self")])
    res <- if (args[1] == "metafor") rma.mv(y, v, mods = ~x, random = ~1 | study/es, data = d, sparse = TRUE)
    else rma.mv(y, V, mods = ~outcome - 1, random = ~outcome | trial, struct = "UN", data = d)
    times[i] <- sum(proc.time()[c("user.self", "sys.self")]) - start
  }
  say("seconds", times)
  say("components", if (args[1] == "metafor") res$sigma2 else res$tau2)
  say("params", coef(res)); say("bse", res$se); say("llf", as.numeric(logLik(res)))
}
