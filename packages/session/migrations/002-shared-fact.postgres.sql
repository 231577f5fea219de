-- Facts about contacts that outlive a connection and the memory of a process: device lists. Sealed; gone when expired.
CREATE TABLE "SharedFact" (
  instance   TEXT NOT NULL,
  key        TEXT NOT NULL,
  sealed     BYTEA NOT NULL,
  fetched_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (instance, key)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Sealed: it does not compress, and trying costs CPU.
ALTER TABLE "SharedFact" ALTER COLUMN sealed SET STORAGE EXTERNAL;

CREATE INDEX "SharedFact_by_end" ON "SharedFact" (expires_at);
