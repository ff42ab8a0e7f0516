# Reference values for metareg_sm, taken by running metafor and clubSandwich.
#
#   Rscript make_reference.R             data.json, fits.json, inference.json, robust.json
#   Rscript make_reference.R synthetic   synthetic_metafor.json (needs synthetic.json, which
#                                        make_mpmath.py writes)
#
# The files are written beside this script; README.md describes them.

suppressMessages({
  library(metafor)
  library(metadat)
  library(clubSandwich)
  library(jsonlite)
})

args <- commandArgs(trailingOnly = FALSE)
script <- sub("^--file=", "", grep("^--file=", args, value = TRUE)[1])
here <- dirname(normalizePath(script))
want_synthetic <- "synthetic" %in% commandArgs(trailingOnly = TRUE)
alpha <- 0.05


source(file.path(here, "json17.R"))

meta <- function() {
  list(
    script = "make_reference.R",
    R = as.character(getRversion()),
    packages = versions(c("metafor", "metadat", "clubSandwich", "jsonlite", "Matrix")),
    control = "threshold=1e-12, maxiter=20000, tol=1e-14"
  )
}

write_json <- function(x, name) {
  write_json17(c(list(meta = meta()), x), file.path(here, name))
}


# ---------------------------------------------------------------- cases

frame_of <- function(d, cols, es = NULL) {
  if (!is.null(es)) d <- es
  d <- as.data.frame(d)
  names(d) <- gsub(".", "_", names(d), fixed = TRUE)
  d <- d[cols]
  for (n in names(d)) {
    if (is.factor(d[[n]])) d[[n]] <- as.character(d[[n]])
    if (is.numeric(d[[n]])) d[[n]] <- as.vector(d[[n]])
  }
  d <- d[stats::complete.cases(d), , drop = FALSE]
  rownames(d) <- NULL
  d
}

dat_raud <- dat.raudenbush1985
dat_raud$weeksc <- pmin(dat_raud$weeks, 3)

frames <- list(
  bcg = frame_of(
    es = escalc(measure = "RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg),
    cols = c("trial", "year", "ablat", "alloc", "yi", "vi")
  ),
  raudenbush1985 = frame_of(dat_raud, c("study", "weeksc", "setting", "tester", "yi", "vi")),
  konstantopoulos2011 = frame_of(
    dat.konstantopoulos2011, c("district", "school", "study", "year", "yi", "vi")
  ),
  bangertdrowns2004_grade = frame_of(dat.bangertdrowns2004, c("id", "grade", "yi", "vi")),
  bangertdrowns2004 = frame_of(
    dat.bangertdrowns2004,
    c("id", "grade", "length", "wic", "feedback", "info", "pers", "imag", "meta", "yi", "vi")
  ),
  hackshaw1998 = frame_of(dat.hackshaw1998, c("study", "year", "design", "yi", "vi")),
  normand1999 = frame_of(
    es = escalc(measure = "MD", m1i = m1i, sd1i = sd1i, n1i = n1i, m2i = m2i, sd2i = sd2i,
                n2i = n2i, data = dat.normand1999),
    cols = c("study", "yi", "vi")
  ),
  molloy2014 = frame_of(
    es = escalc(measure = "ZCOR", ri = ri, ni = ni, data = dat.molloy2014),
    cols = c("controls", "meanage", "quality", "yi", "vi")
  ),
  linde2005 = frame_of(
    es = escalc(measure = "RR", ai = ai, n1i = n1i, ci = ci, n2i = n2i, data = dat.linde2005),
    cols = c("id", "major", "baseline", "yi", "vi")
  ),
  begg1989 = frame_of(dat.begg1989, c("study", "trt", "yi", "vi")),
  viechtbauer2021 = frame_of(
    es = escalc(measure = "OR", add = 1 / 2, to = "all", ai = xTi, n1i = nTi, ci = xCi,
                n2i = nCi, data = dat.viechtbauer2021),
    cols = c("trial", "dose", "yi", "vi")
  ),
  assink2016 = frame_of(
    dat.assink2016, c("study", "id", "year", "deltype", "pubstatus", "yi", "vi")
  ),
  curtis1998 = frame_of(
    es = escalc(measure = "ROM", m1i = m2i, sd1i = sd2i, n1i = n2i, m2i = m1i, sd2i = sd1i,
                n2i = n1i, data = dat.curtis1998),
    cols = c("id", "paper", "fungrp", "time", "method", "yi", "vi")
  ),
  lee2004 = frame_of(
    es = escalc(measure = "RR", ai = ai, n1i = n1i, ci = ci, n2i = n2i, data = dat.lee2004),
    cols = c("id", "year", "yi", "vi")
  ),
  mcdaniel1994 = frame_of(
    es = escalc(measure = "ZCOR", ri = ri, ni = ni, data = dat.mcdaniel1994),
    cols = c("study", "type", "struct", "yi", "vi")
  ),
  crede2010 = frame_of(
    es = escalc(measure = "ZCOR", ri = ri, ni = ni, data = dat.crede2010),
    cols = c("studyid", "year", "criterion", "yi", "vi")
  ),
  tannersmith2016 = frame_of(
    dat.tannersmith2016, c("studyid", "aget1", "propmale", "yi", "vi")
  ),
  hine1989 = frame_of(
    es = escalc(measure = "RD", ai = ai, n1i = n1i, ci = ci, n2i = n2i, data = dat.hine1989),
    cols = c("study", "yi", "vi")
  ),
  collins1985a = frame_of(
    es = escalc(measure = "OR", ai = b.xti, n1i = nti, ci = b.xci, n2i = nci,
                data = dat.collins1985a),
    cols = c("id", "year", "trt", "yi", "vi")
  ),
  knapp2017 = frame_of(dat.knapp2017, c("study", "difficulty", "yi", "vi"))
)

spec <- function(frame, py, r = py, cluster = NULL, nested = character(), dataset = NULL) {
  list(frame = frame, py = py, r = r, cluster = cluster, nested = nested, dataset = dataset)
}

# metafor 3.8-1: rma.uni() gives QE and every tau2 of a model whose columns do not span the constant
# for outcomes from which their mean has been taken (QE 100.73 instead of 50.53 for
# viechtbauer_origin). rma.mv() and 50-digit arithmetic agree on the right values, so those cases
# are fitted by rma.mv() and have no inference that rests on rma.uni().
spans_constant <- function(X) {
  qr(cbind(1, X))$rank == qr(X)$rank
}

cases <- list(
  bcg_ablat_year = spec("bcg", "yi ~ ablat + year", cluster = "trial",
                        nested = c("yi ~ ablat", "yi ~ year", "yi ~ 1"), dataset = "bcg"),
  bcg_intercept = spec("bcg", "yi ~ 1", dataset = "bcg"),
  bcg_alloc = spec("bcg", "yi ~ alloc", nested = "yi ~ 1", dataset = "bcg"),
  bcg_alloc_means = spec("bcg", "yi ~ 0 + alloc", dataset = "bcg"),
  bcg_ablat_alloc = spec("bcg", "yi ~ ablat * alloc",
                         nested = c("yi ~ ablat + alloc", "yi ~ ablat"), dataset = "bcg"),
  raudenbush_weeksc = spec("raudenbush1985", "yi ~ weeksc", nested = "yi ~ 1",
                           dataset = "raudenbush1985"),
  raudenbush_tester = spec("raudenbush1985", "yi ~ weeksc * tester + setting",
                           nested = c("yi ~ weeksc + tester + setting", "yi ~ weeksc"),
                           dataset = "raudenbush1985"),
  raudenbush_intercept = spec("raudenbush1985", "yi ~ 1", dataset = "raudenbush1985"),
  konstantopoulos_year = spec("konstantopoulos2011", "yi ~ year", cluster = "district",
                              nested = "yi ~ 1", dataset = "konstantopoulos2011"),
  bangertdrowns_grade = spec("bangertdrowns2004_grade", "yi ~ C(grade)", "yi ~ factor(grade)",
                             nested = "yi ~ 1", dataset = "bangertdrowns2004"),
  bangertdrowns_multi = spec(
    "bangertdrowns2004", "yi ~ length + wic + feedback + info + pers + imag + meta",
    nested = c("yi ~ length + info + pers + imag + meta", "yi ~ length"),
    dataset = "bangertdrowns2004"
  ),
  hackshaw_year_design = spec("hackshaw1998", "yi ~ year + design",
                              nested = c("yi ~ year", "yi ~ design")),
  normand_intercept = spec("normand1999", "yi ~ 1"),
  molloy_multi = spec("molloy2014", "yi ~ meanage + quality + controls",
                      nested = c("yi ~ meanage", "yi ~ 1")),
  linde_interaction = spec("linde2005", "yi ~ baseline * C(major)", "yi ~ baseline * factor(major)",
                           nested = c("yi ~ baseline + factor(major)", "yi ~ baseline")),
  begg_trt = spec("begg1989", "yi ~ trt", cluster = "study", nested = "yi ~ 1"),
  viechtbauer_dose = spec("viechtbauer2021", "yi ~ dose", nested = "yi ~ 1"),
  viechtbauer_origin = spec("viechtbauer2021", "yi ~ 0 + dose"),
  assink_multi = spec("assink2016", "yi ~ year + deltype + pubstatus", cluster = "study",
                      nested = c("yi ~ year", "yi ~ deltype")),
  curtis_multi = spec("curtis1998", "yi ~ time * method + fungrp", cluster = "paper",
                      nested = c("yi ~ time + method + fungrp", "yi ~ time")),
  lee_year = spec("lee2004", "yi ~ year", nested = "yi ~ 1"),
  mcdaniel_type_struct = spec("mcdaniel1994", "yi ~ type + struct",
                              nested = c("yi ~ struct", "yi ~ 1")),
  crede_year = spec("crede2010", "yi ~ criterion + year", cluster = "studyid",
                    nested = c("yi ~ criterion", "yi ~ 1")),
  tannersmith_multi = spec("tannersmith2016", "yi ~ aget1 + propmale", cluster = "studyid",
                           nested = c("yi ~ aget1", "yi ~ 1")),
  hine_intercept = spec("hine1989", "yi ~ 1"),
  collins_year = spec("collins1985a", "yi ~ year + trt", nested = c("yi ~ year", "yi ~ trt")),
  knapp_difficulty = spec("knapp2017", "yi ~ difficulty", cluster = "study", nested = "yi ~ 1")
)

# Levels in code-point order, as patsy has them, whatever R's locale.
as_levels <- function(x) factor(x, levels = sort(unique(x), method = "radix"))

prepare <- function(s) {
  data <- frames[[s$frame]]
  used <- all.vars(as.formula(s$r))
  raw <- data
  for (n in used) if (is.character(data[[n]])) data[[n]] <- as_levels(data[[n]])
  formula <- as.formula(s$r)
  mf <- model.frame(formula, data)
  X <- model.matrix(formula, mf)
  list(data = data, raw = raw, formula = formula, mf = mf, X = X,
       terms = delete.response(terms(formula)), intercept = attr(terms(formula), "intercept") == 1)
}

# R's coefficient names rewritten as patsy's: "allocrandom" -> "alloc[T.random]".
patsy_names <- function(prep) {
  tt <- prep$terms
  labels <- attr(tt, "term.labels")
  out <- c("(Intercept)" = "Intercept")
  first_factor_full <- !prep$intercept
  for (label in labels) {
    parts <- strsplit(label, ":", fixed = TRUE)[[1]]
    r <- py <- ""
    for (i in seq_along(parts)) {
      part <- parts[i]
      column <- eval(parse(text = part), prep$data)
      pyname <- sub("^factor\\(", "C(", part)
      if (is.factor(column)) {
        full <- first_factor_full && length(parts) == 1
        lev <- if (full) levels(column) else levels(column)[-1]
        pr <- paste0(part, lev)
        pp <- paste0(pyname, "[", if (full) "" else "T.", lev, "]")
        if (full) first_factor_full <- FALSE
      } else {
        pr <- part
        pp <- pyname
      }
      sep <- if (i == 1) "" else ":"
      grid <- expand.grid(seq_along(r), seq_along(pr))
      py <- paste0(py[grid[[1]]], sep, pp[grid[[2]]])
      r <- paste0(r[grid[[1]]], sep, pr[grid[[2]]])
    }
    out <- c(out, setNames(py, r))
  }
  unname(out[colnames(prep$X)])
}

new_rows <- function(prep) {
  vars <- all.vars(prep$terms)
  if (length(vars) == 0) return(NULL)
  cols <- lapply(setNames(nm = vars), function(n) {
    x <- prep$data[[n]]
    if (is.factor(x)) return(rep_len(levels(x), 3))
    lev <- sort(unique(x))
    # A 0/1 or coded variable must keep to its levels; a continuous one may extrapolate.
    if (length(lev) <= 4) return(rep_len(lev, 3))
    c(lev[1], round(median(x), 2), round(max(x) + 0.1 * diff(range(x)), 2))
  })
  as.data.frame(cols, stringsAsFactors = FALSE)
}

design_rows <- function(prep, rows) {
  for (n in names(rows)) {
    x <- prep$data[[n]]
    if (is.factor(x)) rows[[n]] <- factor(rows[[n]], levels = levels(x))
  }
  xlev <- .getXlevels(terms(prep$formula), prep$mf)
  model.matrix(prep$terms, model.frame(prep$terms, rows, xlev = xlev))
}


# ---------------------------------------------------------------- fitting

ctrl <- function(yi, ..., threshold = 1e-12) {
  list(threshold = threshold, maxiter = 20000, tol = 1e-14, tau2.max = 1e4 * max(1, var(yi)), ...)
}

fit_one <- function(yi, vi, X, intercept, method, test, init = NULL, tau2 = NULL,
                    threshold = 1e-12) {
  mods <- if (intercept) X[, -1, drop = FALSE] else X
  if (ncol(mods) == 0) mods <- NULL
  control <- ctrl(yi, threshold = threshold)
  if (!is.null(init)) control$tau2.init <- init
  call <- list(yi = yi, vi = vi, method = method, test = test, intercept = intercept,
               control = control)
  if (!is.null(mods)) call$mods <- mods
  if (!is.null(tau2)) call$tau2 <- tau2
  if (method %in% c("GENQ", "GENQM")) call$weights <- 1 / vi
  suppressWarnings(do.call(rma.uni, call))
}

ll_of <- function(res) res$fit.stats["ll", if (res$method == "REML") "REML" else "ML"]

# Likelihood methods from several starting values; the best maximum wins.
global_init <- function(yi, vi, X, intercept, method) {
  scale <- max(var(yi), median(vi))
  inits <- c(list(NULL), as.list(c(0, scale * 10^(-4:2))))
  fits <- lapply(inits, function(i) {
    tryCatch(fit_one(yi, vi, X, intercept, method, "z", init = i), error = function(e) e)
  })
  ok <- !vapply(fits, inherits, TRUE, what = "error")
  if (!any(ok)) stop(conditionMessage(fits[[1]]))
  lls <- vapply(fits, function(f) if (inherits(f, "error")) NA_real_ else ll_of(f), 0)
  tau2s <- vapply(fits, function(f) if (inherits(f, "error")) NA_real_ else f$tau2, 0)
  best <- if (ok[1] && max(lls, na.rm = TRUE) - lls[1] < 1e-10) 1 else which.max(lls)
  # An iteration that creeps to the boundary stops at about 1e-13; the start at 0 stays there.
  if (ok[2] && tau2s[2] == 0 && max(lls, na.rm = TRUE) - lls[2] < 1e-9) best <- 2
  list(
    init = inits[[best]],
    starts = list(
      tau2_default = if (ok[1]) tau2s[1] else NULL,
      error_default = if (ok[1]) NULL else conditionMessage(fits[[1]]),
      n_starts = length(inits), n_failed = sum(!ok),
      tau2_min = min(tau2s, na.rm = TRUE), tau2_max = max(tau2s, na.rm = TRUE),
      default_is_global = ok[1] && max(lls, na.rm = TRUE) - lls[1] < 1e-8
    )
  )
}

likelihood_methods <- c("REML", "ML")
methods <- c("REML", "ML", "DL", "PM", "EB", "HE", "SJ", "HS", "HSk", "DLIT", "SJIT", "PMM",
             "GENQ", "EE")
tests <- c("z", "knha", "adhoc")

common_part <- function(res) {
  fs <- as.list(res$fit.stats)
  stats_of <- function(which) {
    as.list(setNames(res$fit.stats[c("ll", "AIC", "BIC", "AICc"), which],
                     c("logLik", "AIC", "BIC", "AICc")))
  }
  list(
    beta = vec(res$beta), tau2 = res$tau2,
    se.tau2 = if (is.null(res$se.tau2)) NA_real_ else res$se.tau2,
    QE = res$QE, QEp = res$QEp, I2 = res$I2, H2 = res$H2,
    R2 = if (is.null(res$R2)) NA_real_ else res$R2,
    vt = if (is.null(res$vt)) NA_real_ else res$vt,
    k = res$k, p = res$p,
    fit.stats = list(ML = stats_of("ML"), REML = stats_of("REML"))
  )
}

test_part <- function(res) {
  list(
    se = vec(res$se), zval = vec(res$zval), pval = vec(res$pval),
    ci.lb = vec(res$ci.lb), ci.ub = vec(res$ci.ub),
    QM = res$QM, QMdf = vec(res$QMdf), QMp = res$QMp,
    s2w = if (is.null(res$s2w)) NA_real_ else res$s2w
  )
}

# A fixed-point iteration may cycle a little above the tightest threshold; `threshold` is stored.
fit_method <- function(prep, method) {
  for (threshold in 10^(-12:-8)) {
    out <- try_method(prep, method, threshold)
    if (is.null(out$out$error)) break
  }
  out
}

try_method <- function(prep, method, threshold) {
  yi <- prep$data$yi
  vi <- prep$data$vi
  tryCatch({
    init <- NULL
    starts <- NULL
    if (method %in% likelihood_methods) {
      g <- global_init(yi, vi, prep$X, prep$intercept, method)
      init <- g$init
      starts <- g$starts
    }
    fits <- lapply(setNames(nm = tests), function(test) {
      fit_one(yi, vi, prep$X, prep$intercept, method, test, init = init,
              threshold = threshold)
    })
    # metafor drops a redundant column with no more than a warning.
    stopifnot(fits$z$p == ncol(prep$X))
    out <- common_part(fits$z)
    out$tests <- lapply(fits, test_part)
    same <- identical(out$tests$adhoc, out$tests$knha)
    if (same) out$tests$adhoc <- list(same_as = "knha")
    if (!is.null(starts)) out$starts <- starts
    if (threshold > 1e-12) out$threshold <- threshold
    list(out = out, fits = fits)
  }, error = function(e) list(out = list(error = conditionMessage(e))))
}


fit_mv <- function(prep, method) {
  yi <- prep$data$yi
  id <- seq_along(yi)
  r <- rma.mv(yi, prep$data$vi, mods = prep$X, intercept = FALSE, random = ~ 1 | id,
              method = method)
  fs <- function(which) {
    as.list(setNames(r$fit.stats[c("ll", "AIC", "BIC", "AICc"), which],
                     c("logLik", "AIC", "BIC", "AICc")))
  }
  list(source = "rma.mv", beta = vec(r$beta), tau2 = r$sigma2, QE = r$QE, QEp = r$QEp,
       k = r$k, p = r$p, fit.stats = list(ML = fs("ML"), REML = fs("REML")),
       tests = list(z = list(se = vec(r$se), zval = vec(r$zval), pval = vec(r$pval),
                             ci.lb = vec(r$ci.lb), ci.ub = vec(r$ci.ub), QM = r$QM,
                             QMdf = vec(r$QMdf), QMp = r$QMp)))
}


# ---------------------------------------------------------------- inference (REML fits)

confint_part <- function(res, type) {
  tryCatch({
    yi <- as.vector(res$yi)
    ci <- suppressWarnings(confint(
      res, type = type,
      control = list(tol = 1e-14, maxiter = 20000, tau2.max = 1e6 * max(1, var(yi)))
    ))
    tab <- ci$random
    out <- lapply(setNames(seq_len(4), c("tau2", "tau", "I2", "H2")), function(i) vec(tab[i, ]))
    out$ci.null <- isTRUE(ci$ci.null)
    out$lb.sign <- ci$lb.sign
    out$ub.sign <- ci$ub.sign
    out
  }, error = function(e) list(error = conditionMessage(e)))
}

predict_part <- function(res, mm, ...) {
  pr <- if (is.null(mm)) predict(res, ...) else predict(res, newmods = mm, ...)
  fields <- c("pred", "se", "ci.lb", "ci.ub", "pi.lb", "pi.ub")
  lapply(setNames(nm = fields), function(f) vec(pr[[f]]))
}

shrunken_part <- function(fun, res) {
  b <- fun(res)
  fields <- c("pred", "se", "pi.lb", "pi.ub")
  lapply(setNames(nm = fields), function(f) vec(b[[f]]))
}

influence_part <- function(res) {
  tryCatch({
    inf <- suppressWarnings(influence(res, progbar = FALSE))
    fields <- c("rstudent", "dffits", "cook.d", "cov.r", "tau2.del", "QE.del", "hat", "weight")
    out <- lapply(setNames(nm = fields), function(f) vec(inf$inf[[f]]))
    out$dfbetas <- lapply(seq_len(res$p), function(j) vec(inf$dfbs[[j]]))
    rs <- rstandard(res)
    out$rstandard <- list(resid = vec(rs$resid), se = vec(rs$se), z = vec(rs$z))
    rt <- suppressWarnings(rstudent(res, progbar = FALSE))
    out$rstudent_deleted <- list(resid = vec(rt$resid), se = vec(rt$se))
    out
  }, error = function(e) list(error = conditionMessage(e)))
}

terms_part <- function(fits, prep) {
  assign <- attr(prep$X, "assign")
  labels <- attr(prep$terms, "term.labels")
  lapply(setNames(seq_along(labels), sub("factor(", "C(", labels, fixed = TRUE)), function(i) {
    idx <- which(assign == i)
    z <- anova(fits$z, btt = idx)
    t <- anova(fits$knha, btt = idx)
    list(index = vec(idx - 1), QM = z$QM, QMp = z$QMp, df = length(idx), F = t$QM, Fp = t$QMp)
  })
}

anova_part <- function(prep, s) {
  yi <- prep$data$yi
  vi <- prep$data$vi
  lapply(s$nested, function(rf) {
    f <- as.formula(rf)
    Xr <- model.matrix(f, model.frame(f, prep$data))
    full <- fit_one(yi, vi, prep$X, prep$intercept, "ML", "z",
                    init = global_init(yi, vi, prep$X, prep$intercept, "ML")$init)
    red <- fit_one(yi, vi, Xr, TRUE, "ML", "z", init = global_init(yi, vi, Xr, TRUE, "ML")$init)
    a <- suppressWarnings(anova(full, red))
    list(reduced = gsub("factor(", "C(", rf, fixed = TRUE), LRT = a$LRT, pval = a$pval,
         df = a$parms.f - a$parms.r, ll_full = ll_of(full), ll_reduced = ll_of(red),
         tau2_full = full$tau2, tau2_reduced = red$tau2)
  })
}

inference_case <- function(prep, s, fits_reml, fits_ml) {
  rows <- new_rows(prep)
  mm <- if (is.null(rows)) NULL else design_rows(prep, rows)
  newmods <- if (is.null(mm)) NULL else if (prep$intercept) mm[, -1, drop = FALSE] else mm
  yi <- prep$data$yi
  vi <- prep$data$vi
  zero <- fit_one(yi, vi, prep$X, prep$intercept, "REML", "z", tau2 = 0)
  zero_ml <- fit_one(yi, vi, prep$X, prep$intercept, "ML", "z", tau2 = 0)
  list(
    confint = list(QP = confint_part(fits_reml$knha, "QP"),
                   PL_REML = confint_part(fits_reml$knha, "PL"),
                   PL_ML = confint_part(fits_ml$knha, "PL")),
    ll_tau2_zero = list(REML = ll_of(zero), ML = ll_of(zero_ml)),
    predict = list(
      newdata = if (is.null(rows)) NULL else lapply(rows, vec),
      exog = if (is.null(mm)) matrix(1, 1, 1) else unname(mm),
      z = predict_part(fits_reml$z, newmods),
      knha = predict_part(fits_reml$knha, newmods),
      knha_riley = tryCatch(predict_part(fits_reml$knha, newmods, pi.type = "riley"),
                            error = function(e) list(error = conditionMessage(e)))
    ),
    blup = list(z = shrunken_part(blup, fits_reml$z), knha = shrunken_part(blup, fits_reml$knha)),
    ranef = list(z = shrunken_part(ranef, fits_reml$z),
                 knha = shrunken_part(ranef, fits_reml$knha)),
    influence = list(z = influence_part(fits_reml$z), knha = influence_part(fits_reml$knha)),
    terms = terms_part(fits_reml, prep),
    anova_ml = anova_part(prep, s)
  )
}


# ---------------------------------------------------------------- cluster-robust

# Smallest eigenvalue of I - H within the clusters; 0 if one of them determines a coefficient alone.
cluster_slack <- function(prep, res, cluster) {
  root <- sqrt(1 / (prep$data$vi + res$tau2))
  Q <- qr.Q(qr(prep$X * root))
  min(vapply(split(seq_along(cluster), cluster), function(i) {
    q <- Q[i, , drop = FALSE]
    1 - max(svd(q)$d)^2
  }, 0))
}

robust_case <- function(prep, res, cluster) {
  singular <- cluster_slack(prep, res, cluster) < 1e-8
  idx <- if (prep$intercept) seq_len(ncol(prep$X))[-1] else seq_len(ncol(prep$X))
  types <- c("CR0", "CR1", "CR1S", "CR2", "CR3")
  out <- lapply(setNames(nm = types), function(type) {
    # CR3 inverts I - H of a cluster; clubSandwich may invert a singular one and return noise.
    if (type == "CR3" && singular) return(list(error = "a cluster has leverage 1"))
    tryCatch({
      V <- vcovCR(res, cluster = cluster, type = type)
      ct <- coef_test(res, vcov = V, test = "Satterthwaite")
      part <- list(se = vec(ct$SE), vcov = unname(as.matrix(V)), tstat = vec(ct$tstat),
                   df = vec(ct$df_Satt), p = vec(ct$p_Satt))
      if (length(idx) > 0) {
        part$HTZ <- tryCatch({
          w <- Wald_test(res, constraints = constrain_zero(idx), vcov = V, test = "HTZ")
          list(F = w$Fstat, df_num = w$df_num, df_denom = w$df_denom, p = w$p_val)
        }, error = function(e) list(error = conditionMessage(e)))
      }
      part
    }, error = function(e) list(error = conditionMessage(e)))
  })
  rob <- lapply(setNames(nm = c("adjust", "no_adjust")), function(a) {
    tryCatch({
      # robust() looks the name up in the data, hence do.call with the values.
      r <- do.call(robust, list(res, cluster = cluster, adjust = a == "adjust"))
      list(se = vec(r$se), zval = vec(r$zval), pval = vec(r$pval), ci.lb = vec(r$ci.lb),
           ci.ub = vec(r$ci.ub), dfs = vec(r$dfs), QM = r$QM, QMdf = vec(r$QMdf), QMp = r$QMp)
    }, error = function(e) list(error = conditionMessage(e)))
  })
  list(n_clusters = length(unique(cluster)), clubSandwich = out, metafor_robust = rob)
}


# ---------------------------------------------------------------- runs

run_reference <- function() {
  ranks <- vapply(lapply(cases, prepare), function(p) qr(p$X)$rank == ncol(p$X), TRUE)
  stopifnot(all(ranks))
  case_info <- fits_all <- inference_all <- robust_all <- list()
  for (name in names(cases)) {
    s <- cases[[name]]
    prep <- prepare(s)
    message(name, "  k=", nrow(prep$X), " p=", ncol(prep$X))
    uni <- spans_constant(prep$X)
    if (uni) {
      done <- lapply(setNames(nm = methods), function(m) fit_method(prep, m))
      fits_all[[name]] <- lapply(done, `[[`, "out")
      reml <- done$REML$fits$z
    } else {
      fits_all[[name]] <- lapply(setNames(nm = likelihood_methods), fit_mv, prep = prep)
      reml <- fit_one(prep$data$yi, prep$data$vi, prep$X, FALSE, "REML", "z",
                      tau2 = fits_all[[name]]$REML$tau2)
    }
    # "FE" is another name of "EE" in metafor; make sure that it stays so.
    if (uni) {
      fe <- fit_one(prep$data$yi, prep$data$vi, prep$X, prep$intercept, "FE", "z")
      stopifnot(identical(fe$beta, done$EE$fits$z$beta), identical(fe$se, done$EE$fits$z$se))
    }
    case_info[[name]] <- list(
      frame = s$frame, dataset = s$dataset, formula = s$py, formula_r = s$r,
      outcome = "yi", vi = "vi", cluster = s$cluster, intercept = prep$intercept,
      k = nrow(prep$X), p = ncol(prep$X),
      coef_r = vec(colnames(prep$X)), coef = vec(patsy_names(prep)), exog = unname(prep$X)
    )
    if (uni) inference_all[[name]] <- inference_case(prep, s, done$REML$fits, done$ML$fits)
    rows <- seq_len(nrow(prep$X))
    # With leverage 1 a study's own residual is rounding noise, and so is what is made of it.
    robust_all[[name]] <- list(row = if (max(hatvalues(reml)) < 1 - 1e-8) {
      robust_case(prep, reml, rows)
    } else {
      list(error = "a study has leverage 1")
    })
    if (!is.null(s$cluster)) {
      robust_all[[name]][[s$cluster]] <- robust_case(prep, reml, prep$data[[s$cluster]])
    }
  }
  write_json(list(frames = lapply(frames, function(d) lapply(d, vec)), cases = case_info),
             "data.json")
  write_json(list(cases = fits_all), "fits.json")
  write_json(list(cases = inference_all), "inference.json")
  write_json(list(cases = robust_all), "robust.json")
}

# What metafor makes of the hard synthetic cases, with its default start and tolerance.
run_synthetic <- function() {
  cases <- fromJSON(file.path(here, "synthetic.json"), simplifyVector = TRUE)$cases
  out <- lapply(cases, function(case) {
    yi <- as.numeric(case$y)
    vi <- as.numeric(case$v)
    X <- matrix(as.numeric(case$exog), nrow = length(yi))
    lapply(setNames(nm = likelihood_methods), function(m) {
      one <- function(control) {
        tryCatch({
          r <- suppressWarnings(rma.uni(yi, vi, mods = X, intercept = FALSE, method = m,
                                        control = control))
          list(tau2 = r$tau2, logLik = ll_of(r), beta = vec(r$beta), se = vec(r$se))
        }, error = function(e) list(error = conditionMessage(e)))
      }
      tight <- ctrl(yi)
      tight$threshold <- min(1e-12, 1e-12 * var(yi))
      list(default = one(list()), tight = one(tight))
    })
  })
  write_json(list(cases = out), "synthetic_metafor.json")
}

if (want_synthetic) run_synthetic() else run_reference()
