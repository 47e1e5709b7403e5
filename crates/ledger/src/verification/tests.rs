//! Verification: its rules.
