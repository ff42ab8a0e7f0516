"""Dependent effects: nested, crossed and structured random effects over any known V.

y ~ N(Xb, V + sum over terms of Z (I x G) Z'). From data to results:

- `structures.structure` names a family of covariances G, `terms.Term` a random term and
  `terms.KnownBlock` a block of V;
- `likelihood.MixedLikelihood.build` scales the data and has `routes.choose_route` pick how Sigma is
  factored: `nested` (linear time at any depth), `blocks` (small dense blocks, those of one size
  together) or `crossed` (low rank on top of either);
- `lanes.Lanes` is that likelihood at many parameters, or of many outcomes, in one call: `moments`
  holds what it needs of a covariance, which `upward` sums for nested and `blockwise` for block-
  diagonal ones, and `ascent` climbs from many points in step;
- `search.maximize` takes the best end of climbs from `starts`, or peaks of a grid, and checks it
  by the likelihood itself (`climb.climb` finishes, and searches alone where terms are crossed);
  `search.maximize_held` holds one component; `objective.Objective` is for any other optimizer;
- `refits.refits` fits resampled outcomes together;
- `solution.solve` hands out coefficients, whitening, components and predicted effects;
- `identify.flat_directions` names parameters that the data say nothing about.
"""
