//! Federated AutoML over sums: tables, profile, model families, search.
