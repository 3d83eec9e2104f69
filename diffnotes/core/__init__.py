"""The mathematics everything rests on: schedules, targets, laws, denoisers, data."""
