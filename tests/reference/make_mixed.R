# Reference values of dependent effects and of location-scale models, by running metafor.
#
#   Rscript make_mixed.R [case ...]      mixed.json, location_scale.json
#
# Cases that are named replace those of the files, or are added at their end; the others stay as they
# are, digit by digit. Versions of R and of packages must be those of the files.
#
# Every model is fitted by several optimizers at tight control; the best likelihood is kept.

suppressMessages({
  library(metafor)
  library(metadat)
})

args <- commandArgs(trailingOnly = FALSE)
script <- sub("^--file=", "", grep("^--file=", args, value = TRUE)[1])
here <- dirname(normalizePath(script))
wanted <- commandArgs(trailingOnly = TRUE)

# ---------------------------------------------------------------- JSON at 17 digits
num <- function(x) {
  x <- unclass(x)
  short <- sprintf("%.15g", x)
  out <- ifelse(as.numeric(short) == x, short, sprintf("%.17g", x))
  out[is.na(x)] <- "null"
  out
}
json <- function(x) {
  if (is.null(x)) return("null")
  if (is.matrix(x)) return(paste0("[", paste(apply(x, 1, json), collapse = ",\n "), "]"))
  if (is.factor(x)) x <- as.character(x)
  if (is.list(x)) {
    inner <- vapply(x, json, "")
    if (is.null(names(x))) return(paste0("[", paste(inner, collapse = ", "), "]"))
    return(paste0("{", paste0("\"", names(x), "\": ", inner, collapse = ",\n"), "}"))
  }
  values <- if (is.character(x)) paste0("\"", gsub("\"", "'", enc2utf8(x)), "\"")
            else if (is.logical(x)) tolower(as.character(x)) else num(x)
  if (inherits(x, "one")) return(values)
  paste0("[", paste(values, collapse = ", "), "]")
}
one <- function(x) structure(x, class = "one")
meta <- list(script = one("make_mixed.R"), R = one(as.character(getRversion())),
             packages = list(metafor = one(as.character(packageVersion("metafor"))),
                             metadat = one(as.character(packageVersion("metadat"))),
                             clubSandwich = one(as.character(packageVersion("clubSandwich")))))

tight <- list(
  list(optimizer = "nlminb", rel.tol = 1e-10, iter.max = 2000, eval.max = 4000),
  list(optimizer = "optim", optmethod = "BFGS", reltol = 1e-15, maxit = 5000),
  list(optimizer = "optim", optmethod = "Nelder-Mead", reltol = 1e-15, maxit = 20000)
)

attempt <- function(call, controls) {
  best <- NULL
  for (control in controls) {
    fit <- tryCatch(suppressWarnings(do.call(rma.mv, c(call, list(control = control)))),
                    error = function(e) { message(conditionMessage(e)); NULL })
    if (!is.null(fit) && (is.null(best) || logLik(fit) > logLik(best))) best <- fit
  }
  best
}

sparse_blocks <- function(V, block) {
  lapply(unique(block), function(b) {
    rows <- which(block == b)
    list(rows = as.integer(rows - 1L), matrix = V[rows, rows, drop = FALSE])
  })
}

# groups: named list of label vectors, one for each term of `terms`
# rho: held there (metafor lets the correlation of "CS" and "HCS" fall below -1/(q-1), where G of q
# levels is no covariance matrix any more; cases that would go there are held at that end)
mixed <- function(yi, V, mods, data, random, struct, terms, block = NULL, controls = tight,
                  sparse = FALSE, blups = FALSE, rho = NULL) {
  out <- list()
  X <- model.matrix(mods, data)
  for (method in c("REML", "ML")) {
    call <- list(yi = yi, V = V, mods = mods, random = random, struct = struct, data = data,
                 method = method, sparse = sparse)
    if (!is.null(rho)) call$rho <- rho
    fit <- attempt(call, controls)
    out[[method]] <- list(
      beta = as.vector(fit$beta), se = fit$se, llf = one(as.numeric(logLik(fit))),
      sigma2 = if (fit$withS) fit$sigma2, tau2 = if (fit$withG) fit$tau2,
      rho = if (fit$withG) fit$rho, QE = one(fit$QE)
    )
    if (fit$withH) out[[method]] <- c(
      out[[method]], list(gamma2 = fit$gamma2, phi = fit$phi)
    )
    if (blups && method == "REML") {
      out$ranef <- lapply(ranef(fit), function(r)
        list(label = rownames(r), u = r$intrcpt, se = r$se))
    }
  }
  list(coef = colnames(X), y = as.vector(yi), X = unname(X),
       v = if (is.null(block)) V else NULL,
       V = if (!is.null(block)) sparse_blocks(V, block) else NULL,
       terms = terms, fits = out)
}
# order: levels in the order of the variances
term <- function(groups, levels = NULL, structure = "id", times = NULL)
  list(groups = as.character(groups),
       levels = if (is.null(levels)) NULL else as.character(levels),
       order = if (is.null(levels)) NULL else if (is.factor(levels)) levels(levels)
               else as.character(sort(unique(levels))),
       structure = one(structure), times = times)
nested <- function(...) {
  labels <- list(...)
  out <- list()
  for (i in seq_along(labels)) out[[i]] <- term(do.call(paste, c(labels[1:i], sep = "/")))
  out
}

cases <- list()

cases$konstantopoulos2011 <- function() {
  d <- dat.konstantopoulos2011
  mixed(d$yi, d$vi, ~ 1, d, ~ 1 | district/school, "CS", nested(d$district, d$school), blups = TRUE)
}
cases$konstantopoulos2011_year <- function() {
  d <- dat.konstantopoulos2011
  mixed(d$yi, d$vi, ~ year, d, ~ 1 | district/school, "CS", nested(d$district, d$school))
}
berkey <- function(mods) {
  d <- dat.berkey1998
  d$outcome <- factor(d$outcome)
  V <- as.matrix(bldiag(lapply(split(d[, c("v1i", "v2i")], d$trial), as.matrix)))
  mixed(d$yi, V, mods, d, ~ outcome | trial, "UN", list(term(d$trial, d$outcome, "un")),
        block = d$trial, blups = FALSE)
}
cases$berkey1998 <- function() berkey(~ 0 + outcome)
cases$berkey1998_year <- function() berkey(~ 0 + outcome + outcome:I(year - 1983))
cases$bcg_arms <- function() {
  d <- to.long(measure = "OR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
  levels(d$group) <- c("con", "exp")
  d <- escalc(measure = "PLO", xi = out1, mi = out2, data = d)
  d <- as.data.frame(d)
  mixed(as.vector(d$yi), as.vector(d$vi), ~ 0 + group, d, ~ group | trial, "UN",
        list(term(d$trial, d$group, "un")))
}
cases$assink2016 <- function() {
  d <- dat.assink2016
  mixed(d$yi, d$vi, ~ 1, d, ~ 1 | study/esid, "CS", nested(d$study, d$esid), blups = TRUE)
}
cases$assink2016_deltype <- function() {
  d <- dat.assink2016
  mixed(d$yi, d$vi, ~ deltype + year, d, ~ 1 | study/esid, "CS", nested(d$study, d$esid))
}
cases$assink2016_che <- function() {
  d <- dat.assink2016
  V <- vcalc(vi, cluster = study, obs = esid, rho = 0.6, data = d)
  mixed(d$yi, V, ~ 1, d, ~ 1 | study/esid, "CS", nested(d$study, d$esid), block = d$study)
}
cases$tannersmith2016 <- function() {
  d <- dat.tannersmith2016
  d$esid <- seq_len(nrow(d))
  mixed(d$yi, d$vi, ~ propmale, d, ~ 1 | studyid/esid, "CS", nested(d$studyid, d$esid))
}
fine <- function(struct, name, rho = NULL, controls = tight) {
  d <- dat.fine1993
  long <- do.call(rbind, lapply(1:4, function(t)
    data.frame(study = d$study, time = t, ai = d[[paste0("e", t, "i")]], n1 = d$nei,
               ci = d[[paste0("c", t, "i")]], n2 = d$nci)))
  long <- long[order(long$study, long$time), ]
  long <- as.data.frame(escalc(measure = "OR", ai = ai, n1i = n1, ci = ci, n2i = n2, data = long))
  long <- long[!is.na(long$yi), ]
  V <- vcalc(vi, cluster = study, time1 = time, phi = 0.8, data = long)
  long$ftime <- factor(long$time)
  mixed(as.vector(long$yi), V, ~ 0 + ftime, long, ~ time | study, struct,
        list(term(long$study, long$time, name, times = sort(unique(long$time)))),
        block = long$study, rho = rho, controls = controls)
}
cases$fine1993_ar <- function() fine("AR", "ar")
cases$fine1993_har <- function() fine("HAR", "har")
# several maxima: from metafor's own start the search ends in a lesser one
cases$fine1993_hcs <- function()
  fine("HCS", "hcs", controls = lapply(tight, function(x)
    c(x, list(tau2.init = c(0.001, 0.007, 0.13, 0.45), rho.init = 0.85))))
cases$fine1993_cs <- function() fine("CS", "cs", rho = -1 / 3)
ishak <- function(struct, name) {
  d <- dat.ishak2007
  long <- reshape(d, direction = "long", idvar = "study", v.names = c("yi", "vi"),
                  varying = list(c(2, 4, 6, 8), c(3, 5, 7, 9)))
  long <- long[order(long$study, long$time), ]
  long <- long[!is.na(long$yi), ]
  V <- vcalc(vi, cluster = study, time1 = time, phi = 0.97, data = long)
  long$ftime <- factor(long$time)
  mixed(long$yi, V, ~ 0 + ftime, long, ~ time | study, struct,
        list(term(long$study, long$time, name, times = 1:4)), block = long$study)
}
cases$ishak2007_ar <- function() ishak("AR", "ar")
cases$ishak2007_har <- function() ishak("HAR", "har")
cases$ishak2007_hcs <- function() ishak("HCS", "hcs")
cases$ishak2007_diag <- function() ishak("DIAG", "diag")
cases$ishak2007_id <- function() ishak("ID", "id")
cases$kalaian1996 <- function() {
  d <- dat.kalaian1996
  d <- d[!is.na(d$hrs), ]
  V <- vcalc(vi, cluster = study, type = outcome, rho = 0.66, data = d)
  mixed(d$yi, V, ~ 0 + outcome + log(hrs):outcome, d, ~ outcome | study, "UN",
        list(term(d$study, d$outcome, "un")), block = d$study)
}
cases$lim2014 <- function() {
  d <- dat.lim2014$o_o_unadj
  d <- as.data.frame(escalc(measure = "ZCOR", ri = ri, ni = ni, data = d))
  d <- d[!is.na(d$yi), ]
  d$id <- seq_len(nrow(d))
  mixed(as.vector(d$yi), as.vector(d$vi), ~ 1, d,
        list(~ 1 | article, ~ 1 | species, ~ 1 | id), "CS",
        list(term(d$article), term(d$species), term(d$id)), blups = TRUE)
}
cases$knapp2017 <- function() {
  d <- dat.knapp2017
  d <- d[!is.na(d$difficulty), ]
  d$effect <- seq_len(nrow(d))
  V <- vcalc(vi, cluster = study, obs = effect, rho = 0.4, data = d)
  mixed(d$yi, V, ~ difficulty, d, list(~ 1 | study/comp, ~ 1 | task), "CS",
        c(nested(d$study, d$comp), list(term(d$task))), block = d$study)
}
bcg_arms <- function(struct, name) {
  d <- to.long(measure = "OR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
  levels(d$group) <- c("con", "exp")
  d <- as.data.frame(escalc(measure = "PLO", xi = out1, mi = out2, data = d))
  mixed(as.vector(d$yi), as.vector(d$vi), ~ 0 + group, d, ~ group | trial, struct,
        list(term(d$trial, d$group, name)))
}
cases$bcg_arms_diag <- function() bcg_arms("DIAG", "diag")
cases$bcg_arms_id <- function() bcg_arms("ID", "id")
# two terms with levels
cases$assink2016_two <- function() {
  d <- dat.assink2016
  mixed(d$yi, d$vi, ~ deltype, d, list(~ deltype | study, ~ deltype | id), c("CS", "DIAG"),
        list(term(d$study, d$deltype, "cs"), term(d$id, d$deltype, "diag")))
}
cases$crede2010_two <- function() {
  d <- as.data.frame(escalc(measure = "ZCOR", ri = ri, ni = ni, data = dat.crede2010))
  d$id <- seq_len(nrow(d))
  mixed(as.vector(d$yi), as.vector(d$vi), ~ 0 + criterion, d,
        list(~ criterion | studyid, ~ criterion | id), c("UN", "DIAG"),
        list(term(d$studyid, d$criterion, "un"), term(d$id, d$criterion, "diag")))
}
cases$lim2014_two <- function() {
  d <- dat.lim2014$o_o_unadj
  d <- as.data.frame(escalc(measure = "ZCOR", ri = ri, ni = ni, data = d))
  d <- d[!is.na(d$yi), ]
  d$id <- seq_len(nrow(d))
  mixed(as.vector(d$yi), as.vector(d$vi), ~ 0 + environment, d,
        list(~ 1 | id, ~ environment | article, ~ environment | species), c("HCS", "ID"),
        list(term(d$id), term(d$article, d$environment, "hcs"),
             term(d$species, d$environment, "id")))
}
one_optimizer <- tight[1]
cases$mccurdy2020 <- function() {
  d <- dat.mccurdy2020
  mixed(d$yi, d$vi, ~ condition, d, ~ 1 | article/experiment/sample/id, "CS",
        nested(d$article, d$experiment, d$sample, d$id), controls = one_optimizer, sparse = TRUE)
}
cases$moura2021 <- function() {
  d <- dat.moura2021$dat
  d <- as.data.frame(escalc(measure = "ZCOR", ri = ri, ni = ni, data = d))
  mixed(as.vector(d$yi), as.vector(d$vi), ~ spatially.pooled * temporally.pooled, d,
        list(~ 1 | study.id/effect.size.id, ~ 1 | species), "CS",
        c(nested(d$study.id, d$effect.size.id), list(term(d$species))),
        controls = one_optimizer, sparse = TRUE)
}

run <- function(builders, file) {
  out <- list()
  for (name in names(builders)) {
    if (length(wanted) && !(name %in% wanted)) next
    message(name)
    out[[name]] <- builders[[name]]()
  }
  if (!length(out)) return(invisible())
  target <- file.path(here, file)
  head <- paste0("{\"meta\": ", json(meta), ",\n\"cases\": {")
  texts <- vapply(out, json, "")
  if (length(wanted)) {
    old <- stored(target, head)
    head <- old$head
    old$cases[names(texts)] <- texts
    texts <- old$cases
  }
  body <- paste0("\"", names(texts), "\": ", texts, collapse = ",\n")
  writeLines(paste0(head, body, "}}"), target, useBytes = TRUE)
}
# What stands before the cases of a file, and the cases as they are written there, by name.
stored <- function(path, head) {
  text <- paste(readLines(path, encoding = "UTF-8"), collapse = "\n")
  starts <- gregexpr("\"[A-Za-z0-9_]+\": \\{\"(coef|y)\": ", text)[[1]]
  before <- substr(text, 1, starts[1] - 1)
  if (gsub("\\s", "", before) != gsub("\\s", "", head))
    stop("other versions made ", path, ": run all cases")
  each <- substring(text, starts, c(starts[-1] - 3, nchar(text) - 2))
  label <- sub("^\"([A-Za-z0-9_]+)\".*", "\\1", substr(each, 1, 100))
  list(head = before, cases = setNames(substring(each, nchar(label) + 5), label))
}

# ---------------------------------------------------------------- location and scale
scale_cases <- list()
location_scale <- function(yi, vi, mods, scale, data) {
  fits <- list()
  for (method in c("REML", "ML")) {
    best <- NULL
    for (optimizer in c("nlminb", "BFGS", "Nelder-Mead")) {
      control <- if (optimizer == "nlminb")
        list(optimizer = "nlminb", rel.tol = 1e-11, iter.max = 5000, eval.max = 9999)
        else list(optimizer = "optim", optmethod = optimizer, reltol = 1e-15, maxit = 20000)
      fit <- tryCatch(suppressWarnings(rma(yi, vi, mods = mods, scale = scale, data = data,
                                           method = method, control = control)),
                      error = function(e) { message(conditionMessage(e)); NULL })
      if (!is.null(fit) && (is.null(best) || logLik(fit) > logLik(best))) best <- fit
    }
    fits[[method]] <- list(beta = as.vector(best$beta), se = best$se, alpha = as.vector(best$alpha),
                           se_alpha = best$se.alpha, llf = one(as.numeric(logLik(best))),
                           tau2 = best$tau2, blup = unclass(blup(best))[c("pred", "se")],
                           ranef = unclass(ranef(best))[c("pred", "se")])
  }
  list(y = as.vector(yi), v = as.vector(vi), X = unname(model.matrix(mods, data)),
       Z = unname(model.matrix(scale, data)), fits = fits)
}
scale_cases$bangertdrowns2004 <- function() {
  d <- dat.bangertdrowns2004
  location_scale(d$yi, d$vi, ~ 1, ~ grade, d)
}
scale_cases$bangertdrowns2004_length <- function() {
  d <- dat.bangertdrowns2004
  d <- d[!is.na(d$length) & !is.na(d$meta), ]
  location_scale(d$yi, d$vi, ~ meta, ~ log(ni) + meta, d)
}
scale_cases$assink2016 <- function() {
  d <- dat.assink2016
  location_scale(d$yi, d$vi, ~ pubstatus, ~ pubstatus + year, d)
}
scale_cases$raudenbush1985 <- function() {
  d <- as.data.frame(dat.raudenbush1985)
  location_scale(as.vector(d$yi), as.vector(d$vi), ~ weeks, ~ setting, d)
}

run(scale_cases, "location_scale.json")
run(cases, "mixed.json")
