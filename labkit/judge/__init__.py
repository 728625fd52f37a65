"""What may never be true of a run: facts, rules, report, fault schedules, chaos."""
