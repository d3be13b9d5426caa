//! HTTP routes of services and functions.
