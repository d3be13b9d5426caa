//! Schedules: what is woken by the clock, and when.
//!
//! It is here, at the bottom, because all of it is data and rules without a clock: what is due is
//! decided from a `now` that others bring. So the store can decide inside of its transaction, and a
//! test can let years pass.

mod cron;
mod expression;
mod input;
mod plan;
mod set;
mod spec;
mod timetable;

pub use expression::Expression;
pub use plan::{Advance, Due, MAX_CATCH_UP, Schedule};
pub use spec::{
    AfterCompletion, BusEntry, CatchUp, MAX_SCHEDULE_INPUT, ScheduleGroup, ScheduleKey,
    ScheduleSpec,
};
pub use timetable::{Timetable, Zone};
