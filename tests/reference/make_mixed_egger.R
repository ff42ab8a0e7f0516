# Reference values of Egger's regression, PET and PEESE with dependent effects and with moderators of
# the heterogeneity, by running metafor and clubSandwich on the data of mixed.json and
# location_scale.json with a column added to the moderators.
#
#   Rscript make_mixed_egger.R      mixed_egger.json
#
# Of several optimizers the best likelihood is kept; Newton's steps on metafor's own log-likelihood
# then go on to where its gradient is 0, for nlminb ends where the likelihood is flat to 1e-10.

suppressMessages({
  library(metafor)
  library(clubSandwich)
  library(jsonlite)
  library(numDeriv)
})

args <- commandArgs(trailingOnly = FALSE)
script <- sub("^--file=", "", grep("^--file=", args, value = TRUE)[1])
here <- dirname(normalizePath(script))
source(file.path(here, "json17.R"))

u <- function(x) unlist(x)
rows <- function(x) do.call(rbind, lapply(x, u))
read <- function(name) fromJSON(file.path(here, name), simplifyVector = FALSE)$cases

tight <- list(
  list(optimizer = "nlminb", rel.tol = 1e-10, iter.max = 2000, eval.max = 4000),
  list(optimizer = "optim", optmethod = "BFGS", reltol = 1e-15, maxit = 5000),
  list(optimizer = "optim", optmethod = "Nelder-Mead", reltol = 1e-15, maxit = 20000)
)
attempt <- function(what, call, controls = tight) {
  best <- NULL
  for (control in controls) {
    fit <- tryCatch(suppressWarnings(do.call(what, c(call, list(control = control)))),
                    error = function(e) NULL)
    if (!is.null(fit) && (is.null(best) || logLik(fit) > logLik(best))) best <- fit
  }
  stopifnot(!is.null(best))
  best
}

# rma.mv with variances and correlations held at p: as many sigma2 as the model has, then tau2, rho
held <- function(call, p, found) {
  n <- c(if (found$withS) length(found$sigma2) else 0, if (found$withG) length(found$tau2) else 0)
  if (n[1]) call$sigma2 <- p[seq_len(n[1])]
  if (n[2]) {
    call$tau2 <- p[n[1] + seq_len(n[2])]
    call$rho <- p[-seq_len(sum(n))]
  }
  suppressWarnings(do.call(rma.mv, call))
}
polished <- function(call, found) {
  p <- c(if (found$withS) found$sigma2, if (found$withG) c(found$tau2, found$rho))
  # a variance that is 0 stays there: the gradient says whether it should
  free <- p > 1e-6
  p[!free] <- 0
  f <- function(x) as.numeric(logLik(held(call, replace(p, free, x), found)))
  x <- p[free]
  best <- f(x)
  for (step in 1:3) {
    to <- x - solve(hessian(f, x, method.args = list(d = 0.01)), grad(f, x))
    value <- if (all(is.finite(to))) tryCatch(f(to), error = function(e) -Inf) else -Inf
    if (value < best - 1e-12 * abs(best)) break
    x <- to
    best <- max(best, value)
  }
  stopifnot(abs(grad(f, x)) < 1e-4, best >= as.numeric(logLik(found)) - 1e-9)
  held(call, replace(p, free, x), found)
}

added <- function(v) list(sei = sqrt(v), vi = v)
of <- function(fit, robust = NULL) {
  out <- list(beta = vec(fit$beta), se = vec(fit$se), statistic = vec(fit$zval), pvalue = vec(fit$pval),
              ci_lower = vec(fit$ci.lb), ci_upper = vec(fit$ci.ub), llf = as.numeric(logLik(fit)))
  if (inherits(fit, "rma.mv")) out$ddf <- vec(fit$ddf)
  if (!is.null(robust)) {
    t <- coef_test(fit, vcov = robust, test = "Satterthwaite")
    out$CR2 <- list(se = vec(t$SE), statistic = vec(t$tstat), df = vec(t$df_Satt), pvalue = vec(t$p_Satt))
  }
  out
}

stored <- read("mixed.json")
mixed <- list()
for (name in c("konstantopoulos2011", "konstantopoulos2011_year", "berkey1998", "assink2016",
               "assink2016_deltype", "assink2016_che", "tannersmith2016", "knapp2017", "lim2014", "bcg_arms")) {
  case <- stored[[name]]
  k <- length(case$y)
  X <- rows(case$X)
  if (is.null(case$V)) V <- diag(u(case$v)) else {
    V <- matrix(0, k, k)
    for (b in case$V) {
      at <- u(b$rows) + 1
      V[at, at] <- rows(b$matrix)
    }
  }
  data <- data.frame(y = u(case$y))
  random <- list()
  call <- list(yi = data$y, V = V, intercept = FALSE, test = "t", dfs = "contain")
  for (i in seq_along(case$terms)) {
    term <- case$terms[[i]]
    data[[paste0("g", i)]] <- factor(u(term$groups))
    if (is.null(term$levels)) {
      random <- c(random, list(as.formula(paste0("~ 1 | g", i))))
    } else {
      data$inner <- factor(u(term$levels), levels = u(term$order))
      random <- c(random, list(as.formula(paste0("~ inner | g", i))))
      call$struct <- toupper(term$structure)
    }
  }
  sizes <- vapply(case$terms, function(t) length(unique(u(t$groups))), 1)
  cluster <- data[[paste0("g", which.min(sizes))]]
  call <- c(call, list(random = random, data = data))
  entry <- list(cluster = vec(as.character(cluster)))
  for (method in c("REML", "ML")) for (predictor in c("sei", "vi")) {
    mods <- cbind(X, added(diag(V))[[predictor]])
    colnames(mods) <- paste0("x", seq_len(ncol(mods)))
    own <- c(call, list(mods = mods, method = method))
    fit <- polished(own, attempt(rma.mv, own))
    # crossed terms have no clusters
    robust <- if (!(name %in% c("knapp2017", "lim2014"))) vcovCR(fit, cluster = cluster, type = "CR2")
    entry[[method]][[predictor]] <- of(fit, robust)
  }
  mixed[[name]] <- entry
  message(name)
}

stored <- read("location_scale.json")
scale <- list()
controls <- list(
  list(optimizer = "optim", optmethod = "BFGS", reltol = 1e-15, maxit = 5000),
  list(optimizer = "nlminb", rel.tol = 1e-12, iter.max = 2000, eval.max = 4000),
  list(optimizer = "optim", optmethod = "Nelder-Mead", reltol = 1e-15, maxit = 20000)
)
for (name in c("bangertdrowns2004", "bangertdrowns2004_length", "assink2016")) {
  case <- stored[[name]]
  entry <- list()
  for (method in c("REML", "ML")) for (predictor in c("sei", "vi")) {
    v <- u(case$v)
    X <- cbind(rows(case$X), added(v)[[predictor]])
    Z <- rows(case$Z)
    call <- list(yi = u(case$y), vi = v, mods = ~ 0 + X, scale = ~ 0 + Z, method = method)
    entry[[method]][[predictor]] <- of(attempt(rma, call, controls))
  }
  scale[[name]] <- entry
  message(name)
}
meta <- list(script = "make_mixed_egger.R", R = as.character(getRversion()),
             metafor = as.character(packageVersion("metafor")),
             clubSandwich = as.character(packageVersion("clubSandwich")))
write_json17(list(meta = meta, cases = mixed, scale = scale), file.path(here, "mixed_egger.json"))
