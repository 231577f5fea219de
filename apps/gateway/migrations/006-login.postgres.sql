-- People who sign in to the dashboard with a password.
create table "LoginUser" (
  name text primary key,
  -- argon2id with its cost and salt.
  password text not null,
  -- '*' for operators, else the tenant.
  reach text not null,
  -- With spaces between them.
  scopes text not null,
  -- The secret of the authenticator app, sealed; null without one. It counts from its first right code on.
  totp bytea,
  totp_confirmed bigint not null default 0 check (totp_confirmed in (0, 1)),
  -- The 30-second step of the code used last: no code counts twice.
  totp_step bigint not null default 0,
  created_at bigint not null
);

-- Browsers that are signed in.
create table "LoginSession" (
  id text primary key,
  -- SHA-256 of the secret in the cookie: 256 random bits need no slow hash.
  digest bytea not null,
  kind text not null check (kind in ('key', 'user')),
  -- The id of the key, or the name of the user.
  subject text not null,
  created_at bigint not null,
  -- Written at most every five minutes.
  seen_at bigint not null
);
