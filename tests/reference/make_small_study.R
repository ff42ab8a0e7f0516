# Reference values for small-study effects and selection models, taken by running metafor.
#
#   Rscript make_small_study.R           small_study.json
#
# Each case holds its outcomes, variances and moderators, so that nothing else is needed to use it.
# Likelihoods are maximised from several starts, and again from where that ended until nothing is
# gained. Where metafor cannot be told to be tight, its own steps are taken again with rma():
# the last two fits of trim and fill, and selection models whose tau2 goes to 0.

suppressMessages({
  library(metafor)
  library(metadat)
})

args <- commandArgs(trailingOnly = FALSE)
here <- dirname(normalizePath(sub("^--file=", "", grep("^--file=", args, value = TRUE)[1])))
tight <- list(threshold = 1e-12, maxiter = 20000, tol = 1e-14)

# ---------------------------------------------------------------- JSON at 17 digits

atom <- function(x) {
  if (is.character(x)) {
    x <- gsub("\"", "'", gsub("\n", " ", x, fixed = TRUE), fixed = TRUE)
    return(ifelse(is.na(x), "null", paste0("\"", x, "\"")))
  }
  if (is.logical(x)) return(ifelse(is.na(x), "null", ifelse(x, "true", "false")))
  x <- as.numeric(x)
  short <- sprintf("%.15g", x)
  out <- ifelse(!is.na(x) & as.numeric(short) == x, short, sprintf("%.17g", x))
  out[!is.finite(x)] <- "null"
  out
}

arr <- function(x) structure(list(unname(as.vector(x))), class = "arr")

ser <- function(x) {
  if (is.null(x)) return("null")
  if (inherits(x, "arr")) return(paste0("[", paste(atom(x[[1]]), collapse = ", "), "]"))
  if (is.matrix(x)) {
    rows <- apply(x, 1, function(r) paste0("[", paste(atom(r), collapse = ", "), "]"))
    return(paste0("[", paste(rows, collapse = ", "), "]"))
  }
  if (is.list(x)) {
    parts <- vapply(x, ser, "")
    if (is.null(names(x))) return(paste0("[", paste(parts, collapse = ",\n"), "]"))
    return(paste0("{", paste0("\"", names(x), "\": ", parts, collapse = ",\n"), "}"))
  }
  stopifnot(length(x) == 1)
  atom(x)
}

# ---------------------------------------------------------------- cases

case <- function(d, mods = NULL, ni = NULL) {
  d <- as.data.frame(d)
  keep <- c("yi", "vi", mods, ni)
  for (n in keep) d[[n]] <- as.numeric(d[[n]])
  d <- d[stats::complete.cases(d[keep]), ]
  X <- cbind(1, as.matrix(d[mods]))
  dimnames(X) <- NULL
  list(y = as.vector(d$yi), v = as.vector(d$vi), X = X,
       ni = if (is.null(ni)) NULL else d[[ni]])
}

bcg <- escalc(measure = "RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
bcg$n <- with(bcg, tpos + tneg + cpos + cneg)
egger <- escalc(measure = "OR", ai = ai, n1i = n1i, ci = ci, n2i = n2i, data = dat.egger2001)
egger$n <- with(egger, n1i + n2i)
hahn <- escalc(measure = "OR", ai = ai, n1i = n1i, ci = ci, n2i = n2i, data = dat.hahn2001,
               drop00 = TRUE)
normand <- escalc(measure = "SMD", m1i = m1i, sd1i = sd1i, n1i = n1i, m2i = m2i, sd2i = sd2i,
                  n2i = n2i, data = dat.normand1999)
mcdaniel <- escalc(measure = "ZCOR", ri = ri, ni = ni, data = dat.mcdaniel1994)
mcdaniel$structured <- as.numeric(mcdaniel$struct == "s")
cohen <- escalc(measure = "ZCOR", ri = ri, ni = sample, data = within(dat.cohen1981, sample <- ni))
baskerville <- within(dat.baskerville2012, {
  yi <- smd
  vi <- se^2
})
hine <- escalc(measure = "RD", n1i = n1i, n2i = n2i, ai = ai, ci = ci, data = dat.hine1989)
lau <- escalc(measure = "OR", ai = ai, n1i = n1i, ci = ci, n2i = n2i, data = dat.lau1992)
begg <- within(dat.begg1989, trtn <- as.numeric(factor(trt)))

cases <- list(
  bcg = case(bcg, ni = "n"),
  bcg_ablat = case(bcg, "ablat", "n"),
  egger2001 = case(egger, ni = "n"),
  egger2001_15 = case(egger[-16, ], ni = "n"),
  egger2001_year = case(egger, "year", "n"),
  hackshaw1998 = case(dat.hackshaw1998),
  hackshaw1998_year = case(dat.hackshaw1998, "year"),
  raudenbush1985 = case(dat.raudenbush1985),
  raudenbush1985_weeks = case(dat.raudenbush1985, "weeks"),
  bangertdrowns2004 = case(dat.bangertdrowns2004, ni = "ni"),
  bangertdrowns2004_length = case(dat.bangertdrowns2004, "length", "ni"),
  normand1999 = case(normand),
  mcdaniel1994 = case(mcdaniel, ni = "ni"),
  mcdaniel1994_structured = case(mcdaniel, "structured", "ni"),
  begg1989 = case(begg),
  begg1989_trt = case(begg, "trtn"),
  hahn2001 = case(hahn),
  cohen1981 = case(cohen),
  baskerville2012 = case(baskerville),
  hine1989 = case(hine),
  lau1992 = case(lau)
)

# ---------------------------------------------------------------- what is stored of each

model <- function(d, method, test = "z", start = NULL) {
  yi <- d$y; vi <- d$v
  control <- c(tight, if (!is.null(start)) list(tau2.init = start))
  if (ncol(d$X) == 1) rma(yi, vi, method = method, test = test, control = control)
  else rma(yi, vi, mods = d$X[, -1, drop = FALSE], method = method, test = test, control = control)
}

refused <- function(e) list(refused = conditionMessage(e))

egger_of <- function(d) {
  specs <- expand.grid(method = c("REML", "ML", "DL", "PM", "EE"), test = c("z", "knha"),
                       predictor = c("sei", "vi"), model = "rma", stringsAsFactors = FALSE)
  specs <- specs[!(specs$method == "EE" & specs$test == "knha"), ]
  specs <- rbind(specs, data.frame(method = "REML", test = "z", predictor = c("sei", "vi"),
                                   model = "lm"))
  if (!is.null(d$ni)) {
    specs <- rbind(specs, data.frame(method = "REML", test = "z",
                                     predictor = c("ni", "ninv", "sqrtninv"), model = "rma"),
                   data.frame(method = "REML", test = "z", predictor = "ninv", model = "lm"))
  }
  lapply(seq_len(nrow(specs)), function(i) {
    s <- as.list(specs[i, ])
    regression <- function(start) {
      m <- model(d, s$method, s$test, start)
      if (is.null(d$ni)) regtest(m, model = s$model, predictor = s$predictor, ret.fit = TRUE)
      else regtest(m, model = s$model, predictor = s$predictor, ni = d$ni, ret.fit = TRUE)
    }
    x <- regression(NULL)
    # the likelihood may have several maxima
    if (s$model == "rma" && s$method %in% c("ML", "REML")) {
      for (start in c(0, .01, .1, 1, 10) * median(d$v)) {
        other <- regression(start)
        if (logLik(other$fit) > logLik(x$fit) + 1e-9) x <- other
      }
    }
    if (s$model == "lm") {
      table <- coef(summary(x$fit))
      beta <- table[, 1]; se <- table[, 2]
    } else {
      beta <- x$fit$beta; se <- x$fit$se
    }
    c(s, list(statistic = x$zval, pvalue = x$pval,
              df = if (is.null(x$dfs)) NA else x$dfs, ddf = if (is.null(x$ddf)) NA else x$ddf[1],
              limit = if (is.null(x$est)) NA else x$est,
              lower = if (is.null(x$ci.lb)) NA else x$ci.lb,
              upper = if (is.null(x$ci.ub)) NA else x$ci.ub,
              beta = arr(beta), se = arr(se),
              tau2 = if (s$model == "lm") NA else x$fit$tau2))
  })
}

# The last fits of trim and fill with tight control: trimfill() has the default one for them.
filled_by <- function(d, method, k0, side) {
  turn <- if (side == "right") -1 else 1
  last <- tail(order(turn * d$y), k0)
  kept <- setdiff(seq_along(d$y), last)
  center <- rma(d$y[kept], d$v[kept], method = method, control = tight)$beta[1]
  y <- 2 * center - d$y[last]
  x <- rma(c(d$y, y), c(d$v, d$v[last]), method = method, control = tight)
  list(estimate = x$beta[1], se = x$se, tau2 = x$tau2, filled = arr(y), filled_v = arr(d$v[last]))
}

trimfill_of <- function(d) {
  out <- list()
  if (ncol(d$X) > 1) return(out)
  for (method in c("REML", "DL", "EE")) {
    for (estimator in c("L0", "R0", "Q0")) for (side in c("auto", "left", "right")) {
      m <- model(d, method)
      r <- tryCatch({
        x <- if (side == "auto") trimfill(m, estimator = estimator)
             else trimfill(m, side = side, estimator = estimator)
        again <- filled_by(d, method, x$k0, x$side)
        stopifnot(abs(again$estimate - x$beta[1]) < 1e-3 * x$se, abs(again$se / x$se - 1) < 2e-3)
        c(list(k0 = x$k0, k0_se = x$se.k0, k0_pvalue = x$p.k0, chosen = x$side), again)
      }, error = refused)
      out[[length(out) + 1]] <- c(list(method = method, estimator = estimator, side = side), r)
    }
  }
  out
}

fsn_of <- function(d) {
  yi <- d$y; vi <- d$v
  target <- abs(mean(yi)) / 3
  specs <- list(
    list(type = "Rosenthal", alpha = .05), list(type = "Rosenthal", alpha = .01),
    list(type = "Rosenberg", alpha = .05), list(type = "Rosenberg", alpha = .01),
    list(type = "Orwin"), list(type = "Orwin", target = target),
    list(type = "Orwin", weighted = TRUE), list(type = "Orwin", weighted = TRUE, target = target)
  )
  lapply(specs, function(s) {
    x <- do.call(fsn, c(list(yi, vi), s))
    list(type = s$type, alpha = if (is.null(s$alpha)) NA else s$alpha,
         target = if (is.null(s$target)) NA else s$target, weighted = isTRUE(s$weighted),
         n = x$fsnum, pvalue = x$pval, mean = x$meanes)
  })
}

# The same power without quadrature: tes() cuts its integral over tau2 off at five standard deviations.
power_of <- function(v, theta, tau2, alternative, alpha) {
  se <- sqrt(v); s <- sqrt(v + tau2)
  z <- qnorm(if (alternative == "two.sided") alpha / 2 else alpha, lower.tail = FALSE)
  above <- pnorm(z * se, theta, s, lower.tail = FALSE)
  below <- pnorm(-z * se, theta, s)
  switch(alternative, greater = above, less = below, two.sided = above + below)
}

tes_of <- function(d) {
  out <- list()
  if (ncol(d$X) > 1) return(out)
  yi <- d$y; vi <- d$v
  for (method in c("REML", "EE")) {
    m <- model(d, method)
    for (alternative in c("two.sided", "greater", "less")) {
      for (test in c("chi2", "binom", "exact")) {
        for (tes.alternative in c("greater", "two.sided", "less")) {
          alpha <- if (alternative == "two.sided") .05 else .025
          if (test == "exact" && (length(yi) > 13 || method == "EE")) next
          x <- tes(m, alternative = alternative, alpha = alpha, test = test,
                   tes.alternative = tes.alternative, progbar = FALSE, rel.tol = 1e-10)
          out[[length(out) + 1]] <- list(
            theta = m$beta[1], tau2 = m$tau2, alternative = alternative, alpha = alpha,
            test = x$test, tes_alternative = tes.alternative, observed = x$O, expected = x$E,
            statistic = if (is.null(x$X2)) NA else x$X2, pvalue = x$pval, power = arr(x$power),
            power_closed = arr(power_of(vi, m$beta[1], m$tau2, alternative, alpha)))
        }
      }
    }
  }
  out
}

# One selection model from a start (list of beta, tau2, delta; any may be absent).
select_from <- function(m, steps, alternative, optimizer, start = NULL, r = NULL) {
  tuning <- switch(optimizer, nlm = list(gradtol = 1e-10, steptol = 1e-12, iterlim = 2000),
                   list(reltol = 1e-16, maxit = 20000))
  control <- c(list(optimizer = optimizer), tuning, if (!is.null(r)) list(hessianCtrl = list(r = r)),
               if (!is.null(start$beta)) list(beta.init = start$beta),
               if (!is.null(start$tau2) && m$method != "EE") list(tau2.init = start$tau2),
               if (!is.null(start$delta)) list(delta.init = start$delta))
  tryCatch(suppressWarnings(
    selmodel(m, type = "stepfun", steps = steps, alternative = alternative, control = control,
             skiphes = is.null(r))),
    error = function(e) conditionMessage(e))
}

ll_of <- function(x) if (is.list(x)) x$fit.stats["ll", "ML"] else -Inf

on_boundary <- function(x, held) {
  is.list(held) && x$tau2 < 1e-6 * median(x$vi) && ll_of(held) > ll_of(x) - 1e-9
}

# The best of all starts, begun again from where it ended until nothing is gained.
select_best <- function(m, steps, alternative, held = NULL) {
  J <- length(steps)
  starts <- c(list(NULL), lapply(c(.1, .01), function(w) list(delta = c(1, rep(w, J - 1)))))
  if (is.list(held)) {
    starts <- c(starts, lapply(c(1e-3, .3) * median(m$vi), function(t) {
      list(beta = as.vector(held$beta), tau2 = t, delta = held$delta)
    }))
  }
  found <- lapply(starts, function(s) select_from(m, steps, alternative, "nlm", s))
  found <- c(found, list(select_from(m, steps, alternative, "Nelder-Mead")))
  best <- found[[which.max(vapply(found, ll_of, 0))]]
  if (is.character(best)) return(best)
  point <- function(x) {
    list(beta = as.vector(x$beta), tau2 = max(x$tau2, 1e-8), delta = x$delta)
  }
  # a weight at metafor's bound of 100 has no maximum
  if (max(best$delta) < 99 && !on_boundary(best, held)) {
    for (turn in 1:10) {
      before <- ll_of(best)
      for (optimizer in c("Nelder-Mead", "nlm")) {
        x <- select_from(m, steps, alternative, optimizer, point(best))
        if (ll_of(x) > ll_of(best)) best <- x
      }
      if (ll_of(best) - before < 1e-13) break
    }
  }
  # Once more, from there, for the Hessian, which is extrapolated r times: too few leave an error
  # where coefficients are nearly one direction, too many magnify rounding.
  for (optimizer in c("nlm", "Nelder-Mead")) {
    tried <- lapply(c(4, 6, 8, 10), function(r) {
      select_from(m, steps, alternative, optimizer, point(best), r)
    })
    if (optimizer == "nlm" && ll_of(tried[[1]]) < ll_of(best) - 1e-13) next
    if (!all(vapply(tried, is.list, TRUE))) return(best)
    change <- vapply(1:3, function(i) {
      se <- lapply(tried[c(i, i + 1)], function(x) c(x$se, x$se.delta, x$se.tau2))
      max(abs(se[[1]] / se[[2]] - 1), -Inf, na.rm = TRUE)
    }, 0)
    return(tried[[which.min(change)]])
  }
}

select_one <- function(d, method, steps, alternative, held) {
  x <- if (method == "EE") held
       else select_best(model(d, method), steps, alternative, held)
  if (is.character(x)) return(list(refused = x))
  llf0 <- x$ll0
  # metafor varies log(tau2): on the boundary tau2 only nears 0, and the Hessian, a numerical one,
  # is taken across it. The same maximum without tau2 has no such trouble.
  boundary <- method == "ML" && on_boundary(x, held)
  s <- if (boundary) held else x
  lrt <- max(0, 2 * (ll_of(s) - llf0))
  out <- list(beta = arr(s$beta), se = arr(s$se), tau2 = s$tau2,
              tau2_se = if (boundary) NA else s$se.tau2, boundary = boundary,
              delta = arr(s$delta), delta_se = arr(s$se.delta), llf = ll_of(s),
              llf0 = llf0, lrt = lrt, lrt_df = x$LRTdf,
              lrt_pvalue = pchisq(lrt, x$LRTdf, lower.tail = FALSE),
              counts = arr(x$ptable$k), profile = NULL)
  if (length(steps) == 2 && alternative != "two.sided") {
    ci <- tryCatch(suppressWarnings(confint(x, delta = 2, control = list(tol = 1e-10))),
                   error = function(e) NULL)
    if (!is.null(ci)) out$profile <- arr(ci$random[1, ])
  }
  out
}

selection_of <- function(d) {
  out <- list()
  for (steps in list(.025, c(.05, .5), c(.025, .1, .5))) {
    for (alternative in c("greater", "less", "two.sided")) {
      held <- select_best(model(d, "EE"), c(steps, 1), alternative)
      for (method in c("ML", "EE")) {
        out[[length(out) + 1]] <- c(
          list(method = method, alternative = alternative, steps = arr(steps)),
          select_one(d, method, c(steps, 1), alternative, held))
      }
    }
  }
  out
}

out <- parallel::mclapply(cases, mc.cores = 2, mc.preschedule = FALSE, FUN = function(d) {
  r <- ranktest(model(d, "REML"))
  list(y = arr(d$y), v = arr(d$v), X = d$X, ni = if (is.null(d$ni)) NULL else arr(d$ni),
       egger = egger_of(d), rank = list(tau = unname(r$tau), pvalue = r$pval),
       trimfill = trimfill_of(d), fsn = fsn_of(d), tes = tes_of(d), selection = selection_of(d))
})

meta <- list(script = "make_small_study.R", R = as.character(getRversion()),
             packages = list(metafor = as.character(packageVersion("metafor")),
                             metadat = as.character(packageVersion("metadat"))),
             control = "rma: threshold=1e-12, maxiter=20000, tol=1e-14; selmodel: nlm and Nelder-Mead from several starts, restarted; tes: rel.tol=1e-10")
con <- file(file.path(here, "small_study.json"), "wb")
writeLines(enc2utf8(ser(list(meta = meta, cases = out))), con, sep = "\n", useBytes = TRUE)
close(con)
