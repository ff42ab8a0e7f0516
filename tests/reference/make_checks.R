# Limit estimates of the test of excess significance, and proportions and rates taken back.
#
#   Rscript make_checks.R           checks.json
#
# metafor's own limit estimate stops at the coarse tolerance of uniroot: its p-value is solved again
# here, to the last digits, and with tau2 without the error of its quadrature. `own` is what tes()
# itself reports.

suppressMessages({
  library(metafor)
  library(metadat)
  library(jsonlite)
})

args <- commandArgs(trailingOnly = FALSE)
here <- dirname(normalizePath(sub("^--file=", "", grep("^--file=", args, value = TRUE)[1])))
source(file.path(here, "json17.R"))
tight <- list(threshold = 1e-12, maxiter = 20000)

# ---------------------------------------------------------------- limit estimates
tables <- list(
  bcg = escalc(measure = "RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg),
  hackshaw1998 = dat.hackshaw1998,
  raudenbush1985 = dat.raudenbush1985,
  bangertdrowns2004 = dat.bangertdrowns2004,
  egger2001 = escalc(measure = "OR", ai = ai, n1i = n1i, ci = ci, n2i = n2i, data = dat.egger2001),
  normand1999 = escalc(measure = "SMD", m1i = m1i, sd1i = sd1i, n1i = n1i, m2i = m2i, sd2i = sd2i,
                       n2i = n2i, data = dat.normand1999)
)

# Power of the tests and p-value of that of excess significance by R's normal distribution function:
# tes() integrates the former over tau2, and cuts the integral off at five standard deviations.
power_of <- function(v, theta, tau2, alternative) {
  se <- sqrt(v); s <- sqrt(v + tau2)
  above <- function(z) pnorm(z * se, theta, s, lower.tail = FALSE)
  below <- function(z) pnorm(-z * se, theta, s)
  switch(alternative, greater = above(qnorm(.95)), less = below(qnorm(.95)),
         two.sided = above(qnorm(.975)) + below(qnorm(.975)))
}

chi2_p <- function(O, E, k, side) {
  z <- (O - E) / sqrt(E * (k - E) / k)
  switch(side, greater = pnorm(z, lower.tail = FALSE), less = pnorm(z),
         two.sided = 2 * pnorm(-abs(z)))
}

limit_of <- function(y, v, theta, tau2, test, alternative, side) {
  at <- function(t) {
    tes(y, v, theta = t, tau2 = tau2, test = test, alternative = alternative,
        tes.alternative = side, progbar = FALSE, rel.tol = 1e-10)
  }
  x <- at(theta)
  own <- x$theta.lim
  p <- function(t) at(t)$pval
  if (tau2 > 0) {
    power <- function(t) power_of(v, t, tau2, alternative)
    # what is written down here is what tes() computes
    for (t in c(theta, own[!is.na(own)])) {
      y_t <- at(t)
      stopifnot(abs(y_t$power - power(t)) < 2.1 * pnorm(-5),
                abs(y_t$pval - chi2_p(y_t$O, y_t$E, y_t$k, side)) < 1e-12)
    }
    p <- function(t) chi2_p(x$O, sum(power(t)), x$k, side)
  }
  exact <- vapply(own[!is.na(own)], function(l) {
    uniroot(function(t) p(t) - .10, l + c(-1, 1) * .02 * abs(l), tol = 1e-15, maxiter = 1000)$root
  }, 0)
  list(own = vec(own[!is.na(own)]), exact = vec(exact))
}

limits <- list()
for (name in names(tables)) {
  d <- tables[[name]]
  y <- as.vector(d$yi); v <- as.vector(d$vi)
  m <- rma(y, v, method = "REML", control = tight)
  for (alternative in c("two.sided", "greater", "less")) {
    for (side in c("greater", "less", "two.sided")) {
      for (test in c("chi2", "binom")) {
        # the binomial two-sided p-value jumps
        if (test == "binom" && side == "two.sided") next
        for (tau2 in if (test == "chi2") c(m$tau2, 0) else 0) {
          found <- limit_of(y, v, m$beta[1], tau2, test, alternative, side)
          limits[[length(limits) + 1]] <- c(list(
            data = name, theta = m$beta[1], tau2 = tau2, alternative = alternative,
            test_alternative = side, test = test), found)
        }
      }
    }
  }
}

# ---------------------------------------------------------------- back from double arcsines, roots
sized <- list(
  pritz1997 = with(dat.pritz1997, data.frame(xi = xi, ni = ni)),
  debruin2009 = with(dat.debruin2009, data.frame(xi = xi, ni = ni)),
  zeros = data.frame(xi = c(3, 0, 10, 7, 25, 2), ni = c(20, 15, 44, 30, 210, 9)),
  all_events = data.frame(xi = c(9, 15, 43, 28), ni = c(9, 15, 44, 30))
)
natural <- list()
for (name in names(sized)) {
  d <- sized[[name]]
  for (measure in c("PFT", "IRFT")) {
    e <- if (measure == "PFT") escalc(measure = "PFT", xi = xi, ni = ni, data = d)
         else escalc(measure = "IRFT", xi = xi, ti = ni, data = d)
    for (rows in c("all", "some")) {
      keep <- if (rows == "all") seq_len(nrow(d)) else seq_len(nrow(d) - 1)
      m <- rma(yi, vi, data = e[keep, ], test = "knha", control = tight)
      p <- predict(m)
      hm <- 1 / mean(1 / d$ni[keep])
      back <- if (measure == "PFT") function(x) transf.ipft.hm(x, targs = list(ni = d$ni[keep]))
              else function(x) transf.iirft(x, ti = hm)
      natural[[length(natural) + 1]] <- list(
        data = name, xi = vec(d$xi), ni = vec(d$ni), measure = measure, rows = length(keep),
        size = hm, natural = vec(vapply(c(p$pred, p$ci.lb, p$ci.ub), back, 0)))
    }
  }
}

meta <- list(
  script = "make_checks.R",
  R = as.character(getRversion()),
  packages = versions(c("metafor", "metadat", "jsonlite"))
)
frames <- lapply(tables, function(d) list(y = vec(as.vector(d$yi)), v = vec(as.vector(d$vi))))
write_json17(list(meta = meta, frames = frames, limits = limits, natural = natural),
             file.path(here, "checks.json"))
