# Reference values for deletion diagnostics of location-scale models, by running metafor.
#
#   Rscript make_scale_influence.R      scale_influence.json (needs location_scale.json, which make_mixed.R writes)
#
# metafor has no deletion diagnostics of such models: rma(scale=) is run without each study. nlminb ends
# where the likelihood is flat to 1e-10, and parameters at the root of that: from there scoring steps on
# the textbook's matrices lead on until the score is 0. The script makes sure that they lead no further
# than that, and up. The diagnostics are made of these fits by the formulas of README.md (influence).

suppressMessages({
  library(metafor)
  library(jsonlite)
})

args <- commandArgs(trailingOnly = FALSE)
here <- dirname(normalizePath(sub("^--file=", "", grep("^--file=", args, value = TRUE)[1])))
source(file.path(here, "json17.R"))

stored <- fromJSON(file.path(here, "location_scale.json"), simplifyVector = TRUE)$cases
names <- c("bangertdrowns2004", "bangertdrowns2004_length", "assink2016", "raudenbush1985")

parts <- function(s, rows, alpha, reml) {
  y <- s$y[rows]; X <- s$X[rows, , drop = FALSE]; Z <- s$Z[rows, , drop = FALSE]
  tau2 <- drop(exp(Z %*% alpha))
  W <- diag(1 / (s$v[rows] + tau2))
  A <- t(X) %*% W %*% X
  P <- W - W %*% X %*% solve(A, t(X) %*% W)
  M <- if (reml) P else W
  e <- drop(P %*% y)
  value <- 0.5 * (as.numeric(determinant(W)$modulus) - sum(y * e))
  if (reml) value <- value - 0.5 * as.numeric(determinant(A)$modulus)
  S <- tau2 * Z
  score <- 0.5 * colSums(S * (e^2 - diag(M)))
  # second derivatives: of G twice, and of tau2 itself
  bend <- -t(S * e) %*% P %*% (S * e) + 0.5 * t(S) %*% (M^2) %*% S + 0.5 * t(Z) %*% (S * (e^2 - diag(M)))
  list(value = value, score = score, observed = -bend, expected = 0.5 * t(S) %*% (M^2) %*% S,
       beta = drop(solve(A, t(X) %*% W %*% y)), unscaled = solve(A), tau2 = tau2)
}

# scoring, then Newton; NULL where alpha runs off
polished <- function(s, rows, alpha, reml) {
  begin <- parts(s, rows, alpha, reml)
  for (i in 1:200) {
    at <- parts(s, rows, alpha, reml)
    if (min(at$tau2 / s$v[rows]) < 1e-8) return(NULL)
    good <- min(eigen(at$observed, only.values = TRUE)$values) > 0
    step <- drop(solve(if (good) at$observed else at$expected, at$score, tol = 0))
    alpha <- alpha + step * min(1, 2 / max(abs(s$Z[rows, ] %*% step)))
  }
  at <- parts(s, rows, alpha, reml)
  stopifnot(max(abs(at$score)) < 1e-9, at$value >= begin$value - 1e-9, at$value < begin$value + 1e-6)
  c(at, list(alpha = alpha))
}

full_rank <- function(X, rows) qr(X[rows, , drop = FALSE])$rank == ncol(X)

fit <- function(s, method, rows) {
  if (!full_rank(s$X, rows) || !full_rank(s$Z, rows)) return(NULL)
  best <- NULL
  for (optimizer in c("nlminb", "BFGS")) {
    control <- if (optimizer == "nlminb") list(optimizer = optimizer, rel.tol = 1e-14, eval.max = 5000, iter.max = 5000)
               else list(optimizer = "optim", optmethod = "BFGS", reltol = 1e-14, maxit = 5000)
    found <- tryCatch(suppressWarnings(rma(s$y[rows], s$v[rows], mods = s$X[rows, , drop = FALSE], intercept = FALSE,
                                           scale = s$Z[rows, , drop = FALSE], method = method, control = control)),
                      error = function(e) NULL)
    if (!is.null(found) && (is.null(best) || logLik(found) > logLik(best))) best <- found
  }
  if (is.null(best)) return(NULL)
  polished(s, rows, drop(best$alpha), method == "REML")
}

part <- function(s, method) {
  k <- length(s$y); p <- ncol(s$X); q <- ncol(s$Z)
  full <- fit(s, method, seq_len(k))
  if (is.null(full)) return(NULL)
  variance <- s$v + full$tau2
  hat <- rowSums((s$X %*% full$unscaled) * s$X) / variance
  out <- lapply(seq_len(k), function(i) {
    without <- fit(s, method, seq_len(k)[-i])
    if (is.null(without)) return(NULL)
    x <- s$X[i, ]
    own <- exp(sum(s$Z[i, ] * without$alpha))
    change <- full$beta - without$beta
    moved <- sum(x * change)
    all <- solve(t(s$X) %*% (s$X / (s$v + drop(exp(s$Z %*% without$alpha)))))
    list(beta = vec(without$beta), se = vec(sqrt(diag(without$unscaled))), alpha = vec(without$alpha),
         se_alpha = vec(sqrt(diag(solve(without$observed)))), tau2_expected = own, tau2_deleted = mean(without$tau2),
         rstudent = (s$y[i] - sum(x * without$beta)) / sqrt(s$v[i] + own + sum(x * (without$unscaled %*% x))),
         dffits = moved / sqrt(hat[i] * (s$v[i] + own)), cook = drop(change %*% solve(full$unscaled, change)),
         cov_ratio = det(without$unscaled) / det(full$unscaled), dfbetas = vec(change / sqrt(diag(all))),
         dfbetas_scale = vec((full$alpha - without$alpha) / sqrt(diag(solve(full$observed)))))
  })
  list(beta = vec(full$beta), alpha = vec(full$alpha), hat = vec(hat), deleted = out)
}

out <- lapply(setNames(nm = names), function(name) {
  s <- stored[[name]]
  lapply(setNames(nm = c("REML", "ML")), function(method) part(s, method))
})

meta <- list(script = "make_scale_influence.R", R = as.character(getRversion()),
             packages = versions(c("metafor", "jsonlite")))
write_json17(list(meta = meta, cases = out), file.path(here, "scale_influence.json"))
for (name in names) for (method in c("REML", "ML")) {
  d <- out[[name]][[method]]
  cat(name, method, if (is.null(d)) "unbounded" else paste(length(d$deleted), "deletions,", sum(sapply(d$deleted, is.null)), "without a fit"), "\n")
}
