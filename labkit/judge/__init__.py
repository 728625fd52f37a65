"""What may never be true of a run: rules, report, fault schedules, chaos."""
