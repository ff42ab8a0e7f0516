"""Dependent effects: nested, crossed and structured random effects over any known V.

y ~ N(Xb, V + sum over terms of Z (I x G) Z'). From data to results:

- `structures.structure` names a family of covariances G, `terms.Term` a random term and
  `terms.KnownBlock` a block of V;
- `likelihood.MixedLikelihood.build` scales the data and has `routes.choose_route` pick how Sigma is
  factored: `nested` (linear time at any depth), `blocks` (small dense blocks, those of one size
  together) or `crossed` (low rank on top of either);
- `search.maximize` climbs (`climb.climb`) from several `starts.starts`; `objective.Objective` is
  the same likelihood for any optimizer, `search.maximize_held` with one component held;
- `solution.solve` hands out coefficients, whitening, components and predicted effects;
- `identify.flat_directions` names parameters that the data say nothing about.
"""
