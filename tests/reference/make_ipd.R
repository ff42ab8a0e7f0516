# Reference values of individual participant data, baseline risk and Rubin's rules.
#
#   Rscript make_ipd.R      ipd.json
#
# Participants are drawn here and stored with the results. glm, lm, coxph and metafor are run; Rubin's
# rules are the formulas of Barnard & Rubin (1999), Li, Raghunathan & Rubin (1991) and Reiter (2007),
# written out below.

suppressMessages({
  library(metafor)
  library(survival)
})

args <- commandArgs(trailingOnly = FALSE)
script <- sub("^--file=", "", grep("^--file=", args, value = TRUE)[1])
here <- dirname(normalizePath(script))

# ---------------------------------------------------------------- JSON at 17 digits
num <- function(x) {
  short <- sprintf("%.15g", x)
  out <- ifelse(as.numeric(short) == x, short, sprintf("%.17g", x))
  out[is.na(x)] <- "null"
  out
}
json <- function(x) {
  if (is.matrix(x)) return(paste0("[", paste(apply(x, 1, json), collapse = ", "), "]"))
  if (is.list(x)) {
    inner <- vapply(x, json, "")
    if (is.null(names(x))) return(paste0("[", paste(inner, collapse = ", "), "]"))
    return(paste0("{", paste0("\"", names(x), "\": ", inner, collapse = ",\n"), "}"))
  }
  values <- if (is.character(x)) paste0("\"", x, "\"") else num(as.vector(x))
  if (inherits(x, "one")) return(values)
  paste0("[", paste(values, collapse = ", "), "]")
}
one <- function(x) structure(x, class = "one")

# ---------------------------------------------------------------- participants
set.seed(20250101)
k <- 8
people <- do.call(rbind, lapply(seq_len(k), function(i) {
  n <- 2 * sample(20:60, 1)
  age <- round(rnorm(n, 40 + 3 * i, 8), 2)
  treat <- rep(0:1, n / 2)
  eta <- rnorm(1, 0, 0.3) + 0.02 * (age - 50) + treat * (-0.5 + 0.03 * (age - 50) + rnorm(1, 0, 0.2))
  time <- rexp(n, exp(eta - 2))
  end <- runif(n, 5, 15)
  data.frame(
    study = i, treat = treat, age = age,
    y = round(eta + rnorm(n), 4),
    event = as.numeric(runif(n) < plogis(eta)),
    count = rpois(n, exp(0.5 + eta / 2)),
    time = pmin(time, end), status = as.numeric(time <= end)
  )
}))
people$centred <- people$age - 50
people$control <- 1 - people$treat

tight <- list(threshold = 1e-12, maxiter = 20000)
models <- list(
  ols = function(d) lm(y ~ treat * centred, d),
  logit = function(d) glm(event ~ treat * centred, binomial, d, control = list(epsilon = 1e-14, maxit = 100)),
  poisson = function(d) glm(count ~ treat * centred, poisson, d, control = list(epsilon = 1e-14, maxit = 100)),
  phreg = function(d) coxph(Surv(time, status) ~ treat * centred, d, ties = "breslow",
                            control = coxph.control(eps = 1e-13, toler.chol = 1e-15, iter.max = 100))
)
pooled <- function(y, v, ...) {
  fit <- rma(y, v, method = "REML", test = "knha", control = tight, ...)
  list(beta = as.vector(fit$beta), se = fit$se, tau2 = one(fit$tau2))
}
# several effects of a study, with the covariance that its model gives them
together <- function(est, cov, struct) {
  d <- data.frame(yi = as.vector(t(est)), effect = rep(colnames(est), nrow(est)),
                  study = rep(seq_len(nrow(est)), each = ncol(est)))
  d$effect <- factor(d$effect, colnames(est))
  controls <- list(
    list(optimizer = "nlminb", rel.tol = 1e-14, x.tol = 1e-12, iter.max = 5000, eval.max = 9000),
    list(optimizer = "optim", optmethod = "BFGS", reltol = 1e-16, maxit = 9000),
    list(optimizer = "optim", optmethod = "Nelder-Mead", reltol = 1e-16, maxit = 50000)
  )
  best <- NULL
  for (control in controls) {
    f <- try(suppressWarnings(rma.mv(yi, bldiag(cov), mods = ~ 0 + effect, random = ~ effect | study,
                                     struct = struct, data = d, control = control)), silent = TRUE)
    if (!inherits(f, "try-error") && (is.null(best) || logLik(f) > logLik(best))) best <- f
  }
  list(beta = as.vector(best$beta), se = best$se, tau2 = best$tau2, rho = best$rho,
       llf = one(as.numeric(logLik(best))))
}
stages <- lapply(models, function(model) {
  fits <- lapply(split(people, people$study), model)
  pick <- c("treat", "treat:centred")
  est <- t(sapply(fits, function(f) coef(f)[pick]))
  cov <- lapply(fits, function(f) vcov(f)[pick, pick])
  mean_age <- as.vector(tapply(people$centred, people$study, mean))
  at_mean <- est[, 1] + mean_age * est[, 2]
  at_mean_vi <- mapply(function(V, m) sum(c(1, m) * (V %*% c(1, m))), cov, mean_age)
  interaction_vi <- sapply(cov, function(V) V[2, 2])
  list(
    estimates = est,
    cov = unname(lapply(cov, function(V) unname(V))),
    treat = pooled(est[, 1], sapply(cov, function(V) V[1, 1])),
    within = pooled(est[, 2], interaction_vi),
    across = pooled(at_mean, at_mean_vi, mods = cbind(mean_age)),
    diag = together(est, cov, "DIAG"),
    un = together(est, cov, "UN")
  )
})

# ---------------------------------------------------------------- baseline risk, BCG
bcg <- dat.bcg
long <- data.frame(
  trial = rep(bcg$trial, 2), arm = rep(c("exposed", "control"), each = nrow(bcg)),
  x = c(bcg$tpos, bcg$cpos), n = c(bcg$tpos + bcg$tneg, bcg$cpos + bcg$cneg)
)
bivariate <- function(measure) {
  d <- escalc(measure = measure, xi = x, ni = n, data = long)
  best <- NULL
  controls <- list(
    list(optimizer = "nlminb", rel.tol = 1e-13, iter.max = 5000, eval.max = 9000),
    list(optimizer = "optim", optmethod = "BFGS", reltol = 1e-16, maxit = 9000),
    list(optimizer = "optim", optmethod = "Nelder-Mead", reltol = 1e-16, maxit = 50000)
  )
  for (control in controls) {
    f <- try(suppressWarnings(rma.mv(yi, vi, mods = ~ arm - 1, random = ~ arm | trial, struct = "UN",
                                     method = "ML", data = d, control = control)), silent = TRUE)
    if (!inherits(f, "try-error") && (is.null(best) || logLik(f) > logLik(best))) best <- f
  }
  b <- coef(best)[c("armexposed", "armcontrol")]
  G <- best$G[c("exposed", "control"), c("exposed", "control")]
  slope <- G[1, 2] / G[2, 2]
  list(mean = as.vector(b), G = unname(G), llf = one(as.numeric(logLik(best))),
       slope = one(slope), intercept = one(as.numeric(b[1] - slope * b[2])))
}
baseline <- list(OR = bivariate("PLO"), RR = bivariate("PLN"), RD = bivariate("PR"))

# ---------------------------------------------------------------- Rubin's rules
es <- escalc(measure = "RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
filled <- rbind(c(42, 19), c(13, 27), c(55, 33), c(33, 13), c(44, 27), c(18, 42))
where <- c(3, 8)
completed <- lapply(seq_len(nrow(filled)), function(i) {
  d <- es
  d$ablat[where] <- filled[i, ]
  d
})
fits <- lapply(completed, function(d) {
  rma(yi, vi, mods = ~ ablat + year, data = d, method = "REML", test = "knha", control = tight)
})
m <- length(fits)
Q <- t(sapply(fits, function(f) as.vector(f$beta)))
U <- lapply(fits, vcov)
Ubar <- Reduce(`+`, U) / m
B <- cov(Q)
total <- Ubar + (1 + 1 / m) * B
df_com <- nrow(es) - 3
lambda <- (1 + 1 / m) * diag(B) / diag(total)
old <- (m - 1) / lambda^2
observed <- (df_com + 1) / (df_com + 3) * df_com * (1 - lambda)
df <- 1 / (1 / old + 1 / observed)
se <- sqrt(diag(total))
est <- colMeans(Q)
r <- (total - Ubar)
riv <- diag(r) / diag(Ubar)
d1 <- function(which, df_com) {
  q <- length(which)
  W <- Ubar[which, which]
  r <- (1 + 1 / m) * sum(diag(B[which, which] %*% solve(W))) / q
  stat <- as.numeric(est[which] %*% solve(W) %*% est[which]) / (q * (1 + r))
  t <- q * (m - 1)
  li <- 4 + (t - 4) * (1 + (1 - 2 / t) / r)^2
  a <- r * t / (t - 2)
  s <- df_com * (df_com + 1) / (df_com + 3)
  c0 <- s - 4 * (1 + a)
  c1 <- s - 2 * (1 + a)
  z <- 1 / c0 + (a^2 * c1 / ((1 + a)^2 * c0) + 8 * a^2 * c1 / ((1 + a) * c0^2) + 4 * a^2 / ((1 + a) * c0) +
    4 * a^2 / (c0 * c1) + 16 * a^2 * c1 / c0^3 + 8 * a^2 / c0^2) / (t - 4)
  list(statistic = one(stat), riv = one(r), df_li = one(li), df_reiter = one(4 + 1 / z), valid = one(c0))
}
rules <- list(
  where = where - 1, filled = filled, estimates = Q, covariances = unname(lapply(U, function(V) unname(as.matrix(V)))),
  df_complete = one(df_com), params = est, bse = as.vector(se), df = as.vector(df),
  pvalues = as.vector(2 * pt(-abs(est / se), df)), riv = as.vector(riv),
  fmi = as.vector((riv + 2 / (df + 3)) / (riv + 1)),
  cov = unname(total), tau2 = one(mean(sapply(fits, function(f) f$tau2))), d1 = d1(2:3, df_com)
)

# ---------------------------------------------------------------- both arms of each study
arms <- list(
  ols = function(d) lm(y ~ 0 + control + treat + centred, d),
  logit = function(d) glm(event ~ 0 + control + treat + centred, binomial, d,
                          control = list(epsilon = 1e-14, maxit = 100)),
  poisson = function(d) glm(count ~ 0 + control + treat + centred, poisson, d,
                            control = list(epsilon = 1e-14, maxit = 100))
)
both <- lapply(arms, function(model) {
  fits <- lapply(split(people, people$study), model)
  pick <- c("control", "treat")
  together(t(sapply(fits, function(f) coef(f)[pick])), lapply(fits, function(f) vcov(f)[pick, pick]), "UN")
})
people$control <- NULL

meta <- list(
  script = one("make_ipd.R"), R = one(as.character(getRversion())),
  metafor = one(as.character(packageVersion("metafor"))),
  survival = one(as.character(packageVersion("survival")))
)
out <- list(meta = meta, people = as.list(people), stages = stages, arms = both, baseline = baseline, rubin = rules)
writeLines(json(out), file.path(here, "ipd.json"))
