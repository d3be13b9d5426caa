//! Images, honest and hostile.
