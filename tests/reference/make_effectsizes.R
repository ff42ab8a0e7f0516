# Effect sizes and sampling variances by metafor's escalc, on real and on synthetic tables.
#
#   Rscript make_effectsizes.R           writes effectsizes.json beside this script
#
# `tables` holds the columns; `cases` names measure, table, arguments (argument -> column) and
# options, and has escalc's yi and vi (null is NA). Only numbers are taken: escalc was run.

suppressMessages({
  library(metafor)
  library(metadat)
  library(jsonlite)
})

args <- commandArgs(trailingOnly = FALSE)
script <- sub("^--file=", "", grep("^--file=", args, value = TRUE)[1])
here <- dirname(normalizePath(script))

# jsonlite stops at 15 significant digits, which does not give the double back
num <- function(x) {
  short <- sprintf("%.15g", x)
  exact <- suppressWarnings(as.numeric(short)) == x
  out <- ifelse(exact, short, sprintf("%.17g", x))
  out[is.na(x)] <- "null"
  out
}
text <- function(s) as.character(toJSON(unbox(s)))
flat <- function(x) {
  if (is.character(x)) text(x) else if (is.logical(x)) tolower(as.character(x)) else num(x)
}
vector_json <- function(x) paste0("[", paste(num(as.numeric(x)), collapse = ", "), "]")
object <- function(parts) {
  if (length(parts) == 0) return("{}")
  paste0("{", paste0(vapply(names(parts), text, ""), ": ", unlist(parts), collapse = ", "), "}")
}

# ---------------------------------------------------------------- tables
tables <- list(
  bcg = dat.bcg[c("tpos", "tneg", "cpos", "cneg")],
  nielweise2007 = dat.nielweise2007[c("ai", "n1i", "ci", "n2i")],
  collins1985a = with(dat.collins1985a,
                      data.frame(ai = d.xti, n1i = nti, ci = d.xci, n2i = nci)),
  yusuf1985 = dat.yusuf1985[c("ai", "n1i", "ci", "n2i")],
  gibson2002 = dat.gibson2002[c("m1i", "sd1i", "n1i", "m2i", "sd2i", "n2i",
                                "ai", "bi", "ci", "di")],
  hine1989 = dat.hine1989[c("ai", "n1i", "ci", "n2i")],
  bourassa1996 = with(dat.bourassa1996,
                      data.frame(ai = lh.le, bi = lh.re, ci = rh.le, di = rh.re)),
  hart1999 = dat.hart1999[c("x1i", "t1i", "x2i", "t2i")],
  nielweise2008 = dat.nielweise2008[c("x1i", "t1i", "x2i", "t2i")],
  pritz1997 = dat.pritz1997[c("xi", "ni")],
  debruin2009 = dat.debruin2009[c("xi", "mi", "ni")],
  normand1999 = dat.normand1999[c("m1i", "sd1i", "n1i", "m2i", "sd2i", "n2i")],
  curtis1998 = dat.curtis1998[c("m1i", "sd1i", "n1i", "m2i", "sd2i", "n2i")],
  senn2013 = dat.senn2013[c("mi", "sdi", "ni")],
  mcdaniel1994 = dat.mcdaniel1994[c("ri", "ni")],
  molloy2014 = dat.molloy2014[c("ri", "ni")],
  cohen1981 = dat.cohen1981[c("ri", "ni")],
  bonett2010 = with(dat.bonett2010, data.frame(ai = ai, mi = mi, ni = ni)),
  aloe2013 = with(dat.aloe2013, data.frame(ti = tval, ni = n, mi = preds, r2i = R2)),
  frank2008 = with(dat.frank2008,
                   data.frame(ai = bc.ins.ins, bi = bc.ins.del, ci = bc.del.del)),
  # zero cells of every pattern, double zeros of both kinds, a missing count
  zeros = data.frame(
    ai = c(5, 0, 3, 0, 10, 10, 1, 0, 12, NA, 40, 2),
    bi = c(15, 10, 7, 10, 0, 0, 25, 8, 3, 4, 2, 60),
    ci = c(8, 4, 0, 0, 5, 12, 0, 9, 1, 3, 17, 5),
    di = c(12, 6, 10, 12, 7, 0, 30, 0, 14, 9, 23, 50)),
  rates = data.frame(
    x1i = c(4, 0, 7, 0, 120, NA, 1), t1i = c(100, 52.5, 1300, 40, 2000, 10, 0.5),
    x2i = c(9, 3, 0, 0, 80, 4, 2), t2i = c(120, 60, 1100, 45.25, 1800, 12, 0.25)),
  proportions = data.frame(xi = c(0, 5, 12, 40, 1, NA, 9), ni = c(10, 5, 20, 400, 3, 7, 30)),
  onerate = data.frame(xi = c(0, 5, 12, 400, 1, NA), ti = c(10, 0.5, 20.25, 400, 3, 7)),
  means = data.frame(
    m1i = c(10.5, -2, 3, 120, 0.4, NA, 7, 5), sd1i = c(2, 1, 0.5, 33, 0.3, 1, 2, 4),
    n1i = c(12, 2, 40, 1000, 7, 9, 3, 25), m2i = c(9, -1, -3, 100, 0.6, 2, 7, 9),
    sd2i = c(2.5, 1.5, 0.8, 28, 0.1, 1, 1, 5), n2i = c(10, 3, 35, 900, 9, 8, 4, 300)),
  partial = data.frame(
    m1i = c(10.5, NA, NA, 4), sd1i = c(2, NA, NA, 1), n1i = c(12, 20, 30, 15),
    m2i = c(9, NA, NA, 5), sd2i = c(2.5, NA, NA, 1.2), n2i = c(10, 18, 33, 16),
    di = c(NA, 0.4, NA, NA), ti = c(NA, NA, -2.2, NA)),
  change = data.frame(
    m1i = c(10.5, 3, 50, 0.4, 7, NA), sd1i = c(2, 0.5, 12, 0.3, 2, 1),
    m2i = c(9, 3.5, 61, 0.3, 7, 4), sd2i = c(2.5, 0.8, 10, 0.1, 1, 1),
    ri = c(0.5, -0.3, 0.9, 0, 0.72, 0.4), ni = c(12, 5, 80, 3, 400, 20)),
  margins = data.frame(
    ai = c(5, 0, 30, 12), bi = c(15, 20, 12, 9), ci = c(8, 4, 20, 10), di = c(12, 16, 22, 11),
    ri = c(0.4, 0.2, -0.1, 0.75)),
  correlations = data.frame(
    ri = c(0.5, -0.3, 0.95, 0, 0.01, NA, -0.99), ni = c(12, 5, 80, 6, 4000, 20, 30))
)

# integers overflow in products of four counts
tables <- lapply(tables, function(t) as.data.frame(lapply(t, as.numeric)))

own <- function(...) setNames(c(...), c(...))
table4 <- own("ai", "bi", "ci", "di")
totals <- own("ai", "n1i", "ci", "n2i")
groups <- own("m1i", "m2i", "sd1i", "sd2i", "n1i", "n2i")
spreads <- own("sd1i", "sd2i", "n1i", "n2i")
paired <- own("m1i", "m2i", "sd1i", "sd2i", "ri", "ni")
person <- own("x1i", "x2i", "t1i", "t2i")
correlation <- own("ri", "ni")
bcg_cells <- c(ai = "tpos", bi = "tneg", ci = "cpos", di = "cneg")

two_by_two <- c("RR", "OR", "RD", "AS", "PETO", "PHI", "YUQ", "YUY", "RTET", "PBIT",
                "OR2DN", "OR2DL")

cases <- list()
add_case <- function(measure, table, arguments, ...) {
  options <- list(...)
  call <- c(list(measure = measure), lapply(arguments, function(a) tables[[table]][[a]]), options)
  out <- suppressWarnings(do.call(escalc, call))
  cases[[length(cases) + 1]] <<- object(list(
    measure = text(measure), table = text(table), arguments = object(lapply(arguments, text)),
    options = object(lapply(options, flat)),
    yi = vector_json(out$yi), vi = vector_json(out$vi)))
}

for (m in two_by_two) {
  add_case(m, "bcg", bcg_cells)
  for (t in c("nielweise2007", "collins1985a", "yusuf1985", "hine1989")) add_case(m, t, totals)
  for (t in c("gibson2002", "bourassa1996", "zeros")) add_case(m, t, table4)
  for (to in c("all", "only0", "if0all", "none")) for (add in c(0.5, 0.1, 0))
    for (drop00 in c(FALSE, TRUE)) add_case(m, "zeros", table4, add = add, to = to, drop00 = drop00)
  add_case(m, "bcg", bcg_cells, add = 0.5, to = "if0all")
}
for (v in c("ST", "CS", "LS")) for (t in c("bourassa1996", "zeros")) add_case("PHI", t, table4, vtype = v)
for (v in c("UB", "AV")) for (t in c("bourassa1996", "zeros")) add_case("RD", t, table4, vtype = v)

for (m in c("IRR", "IRD", "IRSD")) {
  for (t in c("hart1999", "nielweise2008", "rates")) add_case(m, t, person)
  for (to in c("all", "only0", "if0all", "none")) for (add in c(0.5, 0.1))
    for (drop00 in c(FALSE, TRUE)) add_case(m, "rates", person, add = add, to = to, drop00 = drop00)
}
for (m in c("PR", "PLN", "PLO", "PAS", "PFT")) {
  for (t in c("pritz1997", "proportions")) add_case(m, t, own("xi", "ni"))
  add_case(m, "debruin2009", own("xi", "mi"))
  for (to in c("all", "only0", "if0all", "none")) for (add in c(0.5, 0.1))
    add_case(m, "proportions", own("xi", "ni"), add = add, to = to)
}
for (m in c("IR", "IRLN", "IRS", "IRFT")) {
  add_case(m, "hart1999", c(xi = "x1i", ti = "t1i"))
  add_case(m, "nielweise2008", c(xi = "x2i", ti = "t2i"))
  add_case(m, "onerate", own("xi", "ti"))
  for (to in c("all", "only0", "if0all", "none")) for (add in c(0.5, 0.1))
    add_case(m, "onerate", own("xi", "ti"), add = add, to = to)
}
vtypes <- list(MD = c("LS", "HO"), SMD = c("LS", "LS2", "UB", "AV"),
               SMD1 = c("LS", "LS2", "UB", "AV"), ROM = c("LS", "HO", "AV", "AVHO"))
for (m in c("MD", "SMD", "SMDH", "SMD1", "SMD1H", "ROM", "CVR", "D2ORN", "D2ORL", "RPB", "RBIS")) {
  for (t in c("normand1999", "curtis1998", "gibson2002", "means")) {
    add_case(m, t, groups)
    for (v in vtypes[[m]]) add_case(m, t, groups, vtype = v)
  }
}
for (v in c("ST", "CS")) for (t in c("normand1999", "means")) add_case("RPB", t, groups, vtype = v)
for (t in c("normand1999", "curtis1998", "means")) add_case("VR", t, spreads)
for (m in c("SMD", "D2ORN", "D2ORL")) add_case(m, "partial", c(groups, own("di", "ti")))
for (v in vtypes[["SMD"]]) add_case("SMD", "partial", c(groups, own("di", "ti")), vtype = v)

one <- c(mi = "m1i", sdi = "sd1i", ni = "n1i")
for (m in c("MN", "MNLN", "CVLN", "SMN"))
  for (t in c("normand1999", "curtis1998")) add_case(m, t, one)
for (m in c("MN", "SMN")) {
  add_case(m, "means", one)
  add_case(m, "senn2013", own("mi", "sdi", "ni"))
}
for (t in c("normand1999", "curtis1998", "means")) add_case("SDLN", t, one[-1])

for (m in c("MC", "SMCC", "SMCRH", "ROMC", "CVRC")) add_case(m, "change", paired)
add_case("SMCR", "change", paired[-4])
add_case("VRC", "change", paired[-(1:2)])

for (t in c("mcdaniel1994", "molloy2014", "cohen1981", "correlations")) {
  for (m in c("COR", "UCOR", "ZCOR")) add_case(m, t, correlation)
  for (m in c("COR", "UCOR")) add_case(m, t, correlation, vtype = "AV")
  add_case("UCOR", t, correlation, vtype = "UB")
}
for (m in c("ARAW", "AHW", "ABT")) add_case(m, "bonett2010", own("ai", "mi", "ni"))
for (m in c("PCOR", "ZPCOR")) add_case(m, "aloe2013", own("ti", "ni", "mi"))
add_case("SPCOR", "aloe2013", own("ti", "ni", "mi", "r2i"))
add_case("REH", "frank2008", own("ai", "bi", "ci"))
for (m in c("MPRR", "MPOR", "MPRD", "MPORC", "MPPETO"))
  for (t in c("bourassa1996", "zeros")) add_case(m, t, table4)

# with another constant than .5 the covariance has other margins than the variances in metafor
for (o in list(list(), list(add = 0.5, to = "all")))
  do.call(add_case, c(list("MPORM", "margins", c(table4, own("ri"))), o))

# back-transformations
y <- c(-0.4, 0.05, 0.3, 0.9, 1.4, 1.56)
size <- c(5, 10, 20, 40, 7, 1000)
backs <- list(
  PLO = transf.ilogit(y), PAS = transf.iarcsin(y), PFT = transf.ipft(y, size),
  IRS = transf.isqrt(y), IRFT = transf.iirft(y, size), ZCOR = transf.ztor(y),
  AHW = transf.iahw(y), ABT = transf.iabt(y))

meta <- object(list(
  script = text("make_effectsizes.R"), R = text(as.character(getRversion())),
  packages = object(lapply(setNames(nm = c("metafor", "metadat", "gsl", "mvtnorm")),
                           function(p) text(as.character(packageVersion(p)))))))
columns_json <- vapply(tables, function(t) object(lapply(t, vector_json)), "")
writeLines(c(
  "{", paste0(" \"meta\": ", meta, ","), " \"tables\": {",
  paste0("  ", vapply(names(tables), text, ""), ": ", columns_json, collapse = ",\n"), " },",
  paste0(" \"back\": {\"y\": ", vector_json(y), ", \"size\": ", vector_json(size), ", ",
         paste0(vapply(names(backs), text, ""), ": ", vapply(backs, vector_json, ""),
                collapse = ", "), "},"),
  " \"cases\": [", paste0("  ", unlist(cases), collapse = ",\n"), " ]", "}"),
  file.path(here, "effectsizes.json"), useBytes = TRUE)
