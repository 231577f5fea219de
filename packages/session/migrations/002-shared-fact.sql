-- Facts about contacts that outlive a connection and the memory of a process: device lists. Sealed; gone when expired.
CREATE TABLE "SharedFact" (
  instance   TEXT NOT NULL,
  key        TEXT NOT NULL,
  sealed     BLOB NOT NULL,
  fetched_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (instance, key)
);
CREATE INDEX "SharedFact_by_end" ON "SharedFact" (expires_at);
