//! Bugs that the suites must find: with the feature `planted`, which only a debug build can have, the one that
//! `ROUSE_TEST_PLANTED` names is there. One build serves for all of them, and for the suites themselves.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("the feature planted is for tests: it exists in debug builds only");

/// Whether the bug of that name is there. Without the feature none is.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub fn bug(_name: &str) -> bool {
    false
}

/// Whether the bug of that name is there.
#[cfg(feature = "planted")]
pub fn bug(name: &str) -> bool {
    static NAMED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let named = NAMED.get_or_init(|| std::env::var("ROUSE_TEST_PLANTED").ok());
    named.as_deref() == Some(name)
}
