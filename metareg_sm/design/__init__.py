"""What the user gives - formula, table, variances, groups - as aligned arrays."""
