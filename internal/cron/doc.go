// Package cron reads cron expressions and says when they fire. It knows no database and
// no clock.
//
// Expressions have five fields, or six with seconds first: minute, hour, day of month,
// month and day of week, each a list of values, ranges and steps, with names of months
// and days, ? for * in the two day fields, and 7 as another Sunday. @hourly and the like
// stand for whole expressions. As in Vixie's cron a day matches either of the day fields
// when both are restricted, and both of them when one begins with *.
//
// What an expression means when a zone changes its clock:
//   - A time of the clock fires when the clock reaches it for the first time. So one
//     that is passed over (02:30, when the clock goes from 02:00 to 03:00) fires at the
//     first instant after, once for all that is passed over, and one that comes twice
//     fires the first time. A fixed hour fires once on every day.
//   - An expression for every hour fires whenever the clock shows its minute: 23 and 25
//     times on days of 23 and 25 hours.
//
// No library that was looked at does this: they skip what is passed over, or fire it an
// hour late, and most fire twice what comes twice. Both rules are proved in the tests
// against a walk over every minute of a decade in eight zones.
package cron
