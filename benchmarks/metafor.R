# Runs metafor for compare.py, which reads what this prints.
#
#   Rscript metafor.R speed BCG.csv ITERATIONS      times in seconds: fit, influence, permutation, selection models
#   Rscript metafor.R search SETS.csv OUT.csv       tau2 of many data sets by REML and ML

suppressMessages(library(metafor))
arguments <- commandArgs(trailingOnly = TRUE)

seconds <- function(times, run) {
  run()
  start <- proc.time()[["elapsed"]]
  for (i in seq_len(times)) run()
  (proc.time()[["elapsed"]] - start) / times
}

# Its own stopping rule, 1e-5, is too coarse where answers are compared.
fine <- list(threshold = 1e-12, maxiter = 20000)

speed <- function(path, iterations) {
  data <- read.csv(path)
  fit <- function(...) rma(yi, vi, mods = ~ ablat + year, data = data, test = "knha", ...)
  res <- fit()
  exact <- fit(control = fine)
  set.seed(1)
  start <- proc.time()[["elapsed"]]
  perm <- permutest(res, iter = iterations, progbar = FALSE)
  spent <- proc.time()[["elapsed"]] - start
  cat("version", as.character(packageVersion("metafor")), "\n")
  cat("fit", seconds(100, fit), "\n")
  cat("influence", seconds(10, function() influence(res)), "\n")
  cat("permutation", spent / iterations, "\n")
  moderated <- rma(yi, vi, mods = ~ ablat, data = data, method = "ML", control = fine)
  smoke <- read.csv(file.path(dirname(path), "hackshaw1998.csv"))
  plain <- rma(yi, vi, data = smoke, method = "ML", control = fine)
  selections <- list(
    "selection" = function() {
      selmodel(moderated, type = "stepfun", steps = 0.025, alternative = "less")
    },
    "selection37" = function() selmodel(plain, type = "stepfun", steps = 0.025),
    "selection37-2" = function() selmodel(plain, type = "stepfun", steps = c(0.025, 0.5))
  )
  for (name in names(selections)) {
    cat(name, seconds(10, selections[[name]]), "\n")
    found <- selections[[name]]()
    cat(paste0(name, "-answers"), sprintf("%.17g", c(found$beta, found$tau2, found$ll)), "\n")
  }
  cat("tau2", sprintf("%.17g", exact$tau2), "\n")
  deleted <- influence(exact)
  cat("cook", sprintf("%.17g", deleted$inf$cook.d), "\n")
  cat("rstudent", sprintf("%.17g", deleted$inf$rstudent), "\n")
  cat("beta", sprintf("%.17g", c(exact$beta)), "\n")
  cat("pvalues", sprintf("%.17g", perm$pval), "\n")
}

search <- function(sets, out) {
  data <- read.csv(sets)
  parts <- split(data, data$set)
  columns <- grep("^x", names(data), value = TRUE)
  solve <- function(part, method) {
    used <- columns[!is.na(unlist(part[1, columns]))]
    tryCatch(
      suppressWarnings(
        rma(part$y, part$v, mods = as.matrix(part[used]), intercept = FALSE, method = method,
            control = fine)$tau2
      ),
      error = function(e) NA
    )
  }
  tau2 <- function(method) vapply(parts, function(part) as.numeric(solve(part, method)), 0)
  found <- data.frame(set = as.integer(names(parts)), reml = tau2("REML"), ml = tau2("ML"))
  write.csv(format(found, digits = 17), out, row.names = FALSE, quote = FALSE)
}

if (arguments[1] == "speed") {
  speed(arguments[2], as.integer(arguments[3]))
} else {
  search(arguments[2], arguments[3])
}
