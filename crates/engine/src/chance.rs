//! What is left to chance.

/// At least 0 and less than 1.
pub(crate) fn fraction() -> f64 {
    #[cfg(feature = "simulation")]
    if let Some(bits) = model::simulation::bits() {
        // As many bits as a float holds.
        return (bits >> 11) as f64 / (1_u64 << 53) as f64;
    }
    rand::random()
}
