-- Which lost run a waiting one was made for: it is taken back when the lost one's report comes after all.
ALTER TABLE runbook.runs ADD COLUMN retry_of bigint;
