//! Contracts: how platform and instance talk.
