"""What may never be true of a run? Rules, report, fault schedules, chaos."""
