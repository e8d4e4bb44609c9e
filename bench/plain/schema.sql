-- No foreign keys: each of them would lock a row that all buyers share. The transactions keep these rows right.

CREATE TABLE users (
    user_id uuid PRIMARY KEY,
    name text,
    balance bigint NOT NULL DEFAULT 0 CHECK (balance >= 0)
);

CREATE TABLE wallet_entries (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL,
    type text NOT NULL,
    amount bigint NOT NULL,
    balance bigint NOT NULL,
    payment_id uuid,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX ON wallet_entries (user_id, entry_id);

CREATE TABLE concerts (
    code text PRIMARY KEY,
    title text NOT NULL,
    description text NOT NULL,
    category text NOT NULL,
    venue text NOT NULL,
    time_zone text NOT NULL,
    sales_open boolean NOT NULL DEFAULT false,
    max_active integer,
    admit_up_to_seats_left boolean NOT NULL,
    max_waiting integer NOT NULL,
    active_ttl_s integer NOT NULL,
    hold_ttl_s integer NOT NULL,
    max_seats_per_user integer NOT NULL,
    charge_while_holding boolean NOT NULL
);

-- Apart from the concert, since every buyer who joins changes it.
CREATE TABLE queues (
    code text PRIMARY KEY,
    issued integer NOT NULL DEFAULT 0,
    head integer NOT NULL DEFAULT 0
);

CREATE TABLE tokens (
    token_id uuid PRIMARY KEY,
    code text NOT NULL,
    user_id uuid NOT NULL,
    queue_number integer NOT NULL,
    status text NOT NULL DEFAULT 'WAITING',
    issued_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    UNIQUE (code, queue_number)
);

CREATE UNIQUE INDEX tokens_live ON tokens (code, user_id) WHERE status IN ('WAITING', 'ACTIVE');
CREATE INDEX tokens_active ON tokens (code, expires_at) WHERE status = 'ACTIVE';
CREATE INDEX tokens_left ON tokens (code, queue_number) WHERE status = 'CANCELLED';

CREATE TABLE performances (
    code text NOT NULL,
    date date NOT NULL,
    start_time text NOT NULL,
    end_time text,
    starts_at timestamptz NOT NULL,
    PRIMARY KEY (code, date, start_time)
);

CREATE TABLE seats (
    code text NOT NULL,
    date date NOT NULL,
    start_time text NOT NULL,
    seat_number integer NOT NULL,
    type text NOT NULL,
    price bigint NOT NULL,
    status text NOT NULL DEFAULT 'AVAILABLE',
    reservation_id uuid,
    held_until timestamptz,
    PRIMARY KEY (code, date, start_time, seat_number)
);

CREATE INDEX seats_unsold ON seats (code) WHERE status <> 'SOLD';

CREATE TABLE reservations (
    reservation_id uuid PRIMARY KEY,
    token_id uuid NOT NULL,
    user_id uuid NOT NULL,
    code text NOT NULL,
    date date NOT NULL,
    start_time text NOT NULL,
    seat_numbers integer[] NOT NULL,
    amount bigint NOT NULL,
    status text NOT NULL DEFAULT 'OPEN',
    hold_expires_at timestamptz NOT NULL,
    failed_payments integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    cancelled_at timestamptz
);

CREATE UNIQUE INDEX reservations_open_of_token ON reservations (token_id) WHERE status = 'OPEN';
CREATE INDEX ON reservations (token_id, created_at);
CREATE INDEX ON reservations (user_id, code);
CREATE INDEX reservations_open ON reservations (hold_expires_at) WHERE status = 'OPEN';

CREATE TABLE payments (
    payment_id uuid PRIMARY KEY,
    reservation_id uuid NOT NULL,
    user_id uuid NOT NULL,
    code text NOT NULL,
    amount bigint NOT NULL,
    balance bigint NOT NULL,
    status text NOT NULL,
    paid_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX ON payments (user_id);
CREATE INDEX ON payments (reservation_id);

-- Where a token stands, as its owner is told. One past its deadline lives on with an open reservation.
CREATE VIEW standings AS
SELECT
    tokens.token_id,
    tokens.user_id,
    tokens.code,
    tokens.queue_number,
    tokens.issued_at,
    greatest(tokens.expires_at, reservations.hold_expires_at) AS expires_at,
    CASE
        WHEN tokens.status = 'ACTIVE' AND greatest(tokens.expires_at, reservations.hold_expires_at) <= now()
            THEN 'EXPIRED'
        ELSE tokens.status
    END AS status,
    queues.head,
    queues.issued,
    concerts.title,
    concerts.sales_open
FROM tokens
JOIN concerts USING (code)
JOIN queues USING (code)
LEFT JOIN reservations
    ON tokens.status = 'ACTIVE'
    AND reservations.token_id = tokens.token_id
    AND reservations.status = 'OPEN';

-- Seats as buyers see them: a hold is over at its deadline.
CREATE VIEW seats_now AS
SELECT
    code,
    date,
    start_time,
    seat_number,
    type,
    price,
    CASE WHEN held_until <= now() THEN 'AVAILABLE' ELSE status END AS status,
    CASE WHEN held_until > now() THEN held_until END AS held_until
FROM seats;

-- Who may not charge: those who hold seats of a concert that does not allow it meanwhile.
CREATE VIEW suspended_wallets AS
SELECT reservations.user_id
FROM reservations
JOIN concerts USING (code)
WHERE reservations.status = 'OPEN' AND hold_expires_at > now() AND NOT charge_while_holding;
