SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE TYPE public.pgqueuer_status AS ENUM (
    'queued',
    'picked',
    'successful',
    'exception',
    'canceled',
    'deleted',
    'failed'
);
CREATE FUNCTION public.fn_pgqueuer_changed() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    to_emit BOOLEAN := false;  -- Flag to decide whether to emit a notification
BEGIN
    -- Check operation type and set the emit flag accordingly
    IF TG_OP = 'UPDATE' AND OLD IS DISTINCT FROM NEW THEN
        to_emit := true;
    ELSIF TG_OP = 'DELETE' THEN
        to_emit := true;
    ELSIF TG_OP = 'INSERT' THEN
        to_emit := true;
    ELSIF TG_OP = 'TRUNCATE' THEN
        to_emit := true;
    END IF;
    -- Perform notification if the emit flag is set
    IF to_emit THEN
        PERFORM pg_notify(
            'ch_pgqueuer',
            json_build_object(
                'channel', 'ch_pgqueuer',
                'operation', lower(TG_OP),
                'sent_at', NOW(),
                'table', TG_TABLE_NAME,
                'type', 'table_changed_event'
            )::text
        );
    END IF;
    -- Return appropriate value based on the operation
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        RETURN NEW;
    ELSIF TG_OP = 'DELETE' THEN
        RETURN OLD;
    ELSE
        RETURN NULL; -- For TRUNCATE and other non-row-specific contexts
    END IF;
END;
$$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.api_key (
    id uuid NOT NULL,
    project_id uuid,
    role text NOT NULL,
    name text NOT NULL,
    secret_hash text NOT NULL,
    hint text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone
);
CREATE TABLE public.bulk_operation (
    id uuid NOT NULL,
    project_id uuid,
    kind text NOT NULL,
    status text NOT NULL,
    strategy text,
    source_id uuid,
    filter text,
    excluded_ids text NOT NULL,
    key_id uuid NOT NULL,
    key_name text NOT NULL,
    idempotency_key text,
    request_hash text,
    created_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    expires_at timestamp with time zone,
    matched integer DEFAULT 0 NOT NULL,
    processed integer DEFAULT 0 NOT NULL,
    succeeded integer DEFAULT 0 NOT NULL,
    skipped integer DEFAULT 0 NOT NULL,
    failed integer DEFAULT 0 NOT NULL,
    became_eligible integer DEFAULT 0 NOT NULL,
    became_ineligible integer DEFAULT 0 NOT NULL,
    max_per_second double precision,
    spread_over_ms bigint,
    paced_through timestamp with time zone,
    done_through uuid,
    lease_token uuid,
    lease_until timestamp with time zone
);
CREATE TABLE public.bulk_outcome (
    operation_id uuid NOT NULL,
    run_id uuid NOT NULL,
    result text NOT NULL,
    reason text,
    foretold text,
    new_run_id uuid,
    due_at timestamp with time zone,
    at timestamp with time zone
)
WITH (fillfactor='35');
CREATE TABLE public.event_horizon (
    id integer NOT NULL,
    seq bigint NOT NULL
);
CREATE TABLE public.flow (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL,
    enabled boolean NOT NULL,
    published_version_id uuid,
    max_concurrent_runs integer,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
);
CREATE TABLE public.flow_run (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    flow_id uuid NOT NULL,
    flow_version_id uuid NOT NULL,
    status text NOT NULL,
    environment text NOT NULL,
    trigger_method text NOT NULL,
    scheduled_for timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    updated_at timestamp with time zone NOT NULL,
    archived_at timestamp with time zone,
    archive_operation_id uuid,
    duration_ms bigint,
    parent_run_id uuid,
    root_run_id uuid NOT NULL,
    depth integer DEFAULT 0 NOT NULL,
    parent_position integer,
    parent_attempt integer,
    item_index integer,
    fail_parent_on_failure boolean NOT NULL,
    retry_of_id uuid,
    attempt integer NOT NULL,
    retry_operation_id uuid,
    recovered_by_id uuid,
    failed_step_name text,
    error_code text,
    error_message text,
    error_fingerprint text,
    external_id text,
    source text,
    idempotency_key text,
    request_hash text,
    due_at timestamp with time zone,
    held_at timestamp with time zone,
    held_by uuid,
    epoch integer NOT NULL,
    lease_token uuid,
    interruptions integer NOT NULL,
    running_since timestamp with time zone,
    ran_ms bigint DEFAULT '0'::bigint NOT NULL,
    steps_purged_at timestamp with time zone,
    tags text[] NOT NULL,
    metadata jsonb NOT NULL,
    input text NOT NULL,
    output text
)
WITH (fillfactor='50');
CREATE TABLE public.flow_version (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    flow_id uuid NOT NULL,
    number integer NOT NULL,
    step_count integer NOT NULL,
    definition text NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.input_request (
    id uuid NOT NULL,
    run_id uuid NOT NULL,
    "position" integer NOT NULL,
    status text NOT NULL,
    step_name text NOT NULL,
    title text NOT NULL,
    description text,
    assignee text,
    answer_schema text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    answered_at timestamp with time zone,
    answer text
);
CREATE UNLOGGED TABLE public.pgqueuer (
    id bigint NOT NULL,
    priority integer NOT NULL,
    queue_manager_id uuid,
    created timestamp with time zone DEFAULT now() NOT NULL,
    updated timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat timestamp with time zone DEFAULT now() NOT NULL,
    execute_after timestamp with time zone DEFAULT now() NOT NULL,
    status public.pgqueuer_status NOT NULL,
    entrypoint text NOT NULL,
    dedupe_key text,
    payload bytea,
    headers jsonb,
    attempts integer DEFAULT 0 NOT NULL,
    slot bigint
)
WITH (autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_threshold='1000', autovacuum_analyze_scale_factor='0.02', autovacuum_analyze_threshold='500', autovacuum_vacuum_cost_limit='10000', autovacuum_vacuum_cost_delay='0', fillfactor='70');
CREATE UNLOGGED SEQUENCE public.pgqueuer_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.pgqueuer_id_seq OWNED BY public.pgqueuer.id;
CREATE UNLOGGED TABLE public.pgqueuer_log (
    id bigint NOT NULL,
    created timestamp with time zone DEFAULT now() NOT NULL,
    job_id bigint NOT NULL,
    status public.pgqueuer_status NOT NULL,
    priority integer NOT NULL,
    entrypoint text NOT NULL,
    traceback jsonb,
    aggregated boolean DEFAULT false
)
WITH (autovacuum_vacuum_scale_factor='0.95', autovacuum_vacuum_threshold='1000000', autovacuum_analyze_scale_factor='0.05', autovacuum_analyze_threshold='10000');
ALTER TABLE public.pgqueuer_log ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.pgqueuer_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE UNLOGGED TABLE public.pgqueuer_schedules (
    id bigint NOT NULL,
    expression text NOT NULL,
    entrypoint text NOT NULL,
    heartbeat timestamp with time zone DEFAULT now() NOT NULL,
    created timestamp with time zone DEFAULT now() NOT NULL,
    updated timestamp with time zone DEFAULT now() NOT NULL,
    next_run timestamp with time zone DEFAULT now() NOT NULL,
    last_run timestamp with time zone,
    status public.pgqueuer_status DEFAULT 'queued'::public.pgqueuer_status
)
WITH (autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_threshold='1000', autovacuum_analyze_scale_factor='0.02', autovacuum_analyze_threshold='500', autovacuum_vacuum_cost_limit='10000', autovacuum_vacuum_cost_delay='0', fillfactor='70');
CREATE UNLOGGED SEQUENCE public.pgqueuer_schedules_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.pgqueuer_schedules_id_seq OWNED BY public.pgqueuer_schedules.id;
CREATE UNLOGGED TABLE public.pgqueuer_statistics (
    id bigint NOT NULL,
    created timestamp with time zone DEFAULT date_trunc('sec'::text, now()) NOT NULL,
    count bigint NOT NULL,
    priority integer NOT NULL,
    status public.pgqueuer_status NOT NULL,
    entrypoint text NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.95', autovacuum_vacuum_threshold='1000000', autovacuum_analyze_scale_factor='0.05', autovacuum_analyze_threshold='10000');
CREATE UNLOGGED SEQUENCE public.pgqueuer_statistics_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.pgqueuer_statistics_id_seq OWNED BY public.pgqueuer_statistics.id;
CREATE TABLE public.project (
    id uuid NOT NULL,
    name text NOT NULL,
    retry_limit integer DEFAULT 10 NOT NULL,
    max_concurrent_runs integer,
    quota_runs integer,
    quota_period text,
    retention_days integer,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.quota_use (
    project_id uuid NOT NULL,
    period text NOT NULL,
    began_at timestamp with time zone NOT NULL,
    used integer NOT NULL
);
CREATE TABLE public.run_event (
    seq bigint NOT NULL,
    project_id uuid NOT NULL,
    flow_id uuid,
    run_id uuid,
    operation_id uuid,
    kind text NOT NULL,
    step_name text,
    from_status text,
    to_status text,
    message text,
    data text,
    at timestamp with time zone NOT NULL
);
ALTER TABLE public.run_event ALTER COLUMN seq ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.run_event_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.run_file (
    id uuid NOT NULL,
    run_id uuid NOT NULL,
    step_name text NOT NULL,
    attempt integer NOT NULL,
    name text NOT NULL,
    size bigint NOT NULL,
    media_type text NOT NULL,
    key text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    purged_at timestamp with time zone
);
CREATE TABLE public.run_log (
    run_id uuid NOT NULL,
    number integer NOT NULL,
    at timestamp with time zone NOT NULL,
    level text NOT NULL,
    step_name text,
    attempt integer,
    message text NOT NULL
);
CREATE TABLE public.schedule (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    flow_id uuid NOT NULL,
    name text,
    enabled boolean NOT NULL,
    cron text NOT NULL,
    time_zone text NOT NULL,
    missed_fires text NOT NULL,
    environment text NOT NULL,
    tags text[] NOT NULL,
    metadata jsonb NOT NULL,
    input text NOT NULL,
    next_fire_at timestamp with time zone,
    last_fired_at timestamp with time zone,
    last_skipped_at timestamp with time zone,
    last_skipped_reason text,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
);
CREATE TABLE public.step_attempt (
    run_id uuid NOT NULL,
    "position" integer NOT NULL,
    number integer NOT NULL,
    status text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    error text
);
CREATE TABLE public.step_result (
    run_id uuid NOT NULL,
    "position" integer NOT NULL,
    name text NOT NULL,
    display_name text,
    kind text NOT NULL,
    status text NOT NULL,
    attempts_count integer NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    duration_ms bigint,
    reused_from_id uuid,
    error text,
    input text,
    output text
);
CREATE TABLE public.webhook (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    flow_id uuid NOT NULL,
    name text NOT NULL,
    environment text NOT NULL,
    token_hash text NOT NULL,
    hint text NOT NULL,
    signature_header text,
    signature_secret text,
    created_at timestamp with time zone NOT NULL,
    rotated_at timestamp with time zone
);
ALTER TABLE ONLY public.pgqueuer ALTER COLUMN id SET DEFAULT nextval('public.pgqueuer_id_seq'::regclass);
ALTER TABLE ONLY public.pgqueuer_schedules ALTER COLUMN id SET DEFAULT nextval('public.pgqueuer_schedules_id_seq'::regclass);
ALTER TABLE ONLY public.pgqueuer_statistics ALTER COLUMN id SET DEFAULT nextval('public.pgqueuer_statistics_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES
	('0007');
INSERT INTO public.api_key VALUES
	('01a226c4-f3ef-700c-bdac-5d46643932aa', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', 'ADMIN', 'bootstrap', '0c5f4849bd4be7a696f19933fc3dc7c6c454e756e9e2cef6a43e341e7b53a8bb', 'a-key-fi', '2026-11-29 10:06:11.439592+00', NULL, NULL);
INSERT INTO public.bulk_operation VALUES
	('01a226c5-64f6-7017-9647-4cfe27778104', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', 'ARCHIVE', 'COMPLETED', NULL, NULL, '{"tags":["t0"]}', '[]', '01a226c4-f3ef-700c-bdac-5d46643932aa', 'bootstrap', NULL, NULL, '2026-11-29 10:06:40.374794+00', '2026-11-29 10:06:40.683568+00', '2026-11-29 10:06:41.06437+00', NULL, 1, 1, 1, 0, 0, 0, 0, NULL, NULL, NULL, '01a226c5-08ce-7038-9213-9e5e389abfee', NULL, NULL),
	('01a226c5-693c-7093-9fad-915dd2712075', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', 'ARCHIVE', 'PLANNED', NULL, NULL, '{"tags":["vip"]}', '[]', '01a226c4-f3ef-700c-bdac-5d46643932aa', 'bootstrap', NULL, NULL, '2026-11-29 10:06:41.468566+00', NULL, NULL, '2026-11-29 11:06:41.605667+00', 4, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.bulk_outcome VALUES
	('01a226c5-64f6-7017-9647-4cfe27778104', '01a226c5-08ce-7038-9213-9e5e389abfee', 'SUCCEEDED', NULL, NULL, NULL, NULL, '2026-11-29 10:06:40.819358+00'),
	('01a226c5-693c-7093-9fad-915dd2712075', '01a226c5-2121-70ec-ade6-f77df1684c66', 'PENDING', NULL, 'ELIGIBLE', NULL, NULL, NULL),
	('01a226c5-693c-7093-9fad-915dd2712075', '01a226c5-3779-7076-8fc8-b3bd3b3cd59b', 'PENDING', NULL, 'ELIGIBLE', NULL, NULL, NULL),
	('01a226c5-693c-7093-9fad-915dd2712075', '01a226c5-4b0b-701d-b95d-a7343ffb7470', 'PENDING', NULL, 'ELIGIBLE', NULL, NULL, NULL),
	('01a226c5-693c-7093-9fad-915dd2712075', '01a226c5-4cde-7054-b166-f16533051189', 'PENDING', NULL, 'ELIGIBLE', NULL, NULL, NULL);
INSERT INTO public.event_horizon VALUES
	(1, 0);
INSERT INTO public.flow VALUES
	('01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', 'greet', true, '01a226c4-fdc2-70e6-af71-37fb92869507', NULL, '2026-11-29 10:06:13.94+00', '2026-11-29 10:06:13.954+00'),
	('01a226c4-ff12-70e2-985e-d454697f2208', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', 'fetch', true, '01a226c4-ff18-704c-a9a9-bbd5716036a9', NULL, '2026-11-29 10:06:14.29+00', '2026-11-29 10:06:14.296+00'),
	('01a226c5-003d-70f4-aac7-bc4c7ad1bb94', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', 'slow', true, '01a226c5-003e-7019-a8d2-b6fbb3104000', NULL, '2026-11-29 10:06:14.589+00', '2026-11-29 10:06:14.59+00'),
	('01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', 'broken', true, '01a226c5-0173-7002-a4b7-9b51bf6aae65', NULL, '2026-11-29 10:06:14.898+00', '2026-11-29 10:06:14.899+00'),
	('01a226c5-029c-7017-ab91-06ea3761f7a4', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', 'pause', true, '01a226c5-029d-70d0-a732-5cc6ae1c99af', NULL, '2026-11-29 10:06:15.196+00', '2026-11-29 10:06:15.197+00'),
	('01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', 'ask', true, '01a226c5-03fa-709d-9578-236ecd2eb331', NULL, '2026-11-29 10:06:15.545+00', '2026-11-29 10:06:15.546+00'),
	('01a226c5-0570-706f-a44c-517a461af65c', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', 'parent', true, '01a226c5-0578-7009-8cc5-c7b32f0e8eb0', NULL, '2026-11-29 10:06:15.92+00', '2026-11-29 10:06:15.928+00');
INSERT INTO public.flow_run VALUES
	('01a226c5-2121-70ec-ade6-f77df1684c66', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c4-fdc2-70e6-af71-37fb92869507', 'SUCCEEDED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:23.009+00', '2026-11-29 10:06:33.214397+00', '2026-11-29 10:06:33.466401+00', '2026-11-29 10:06:33.466401+00', NULL, NULL, 198, NULL, '01a226c5-2121-70ec-ade6-f77df1684c66', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, 0, '2026-11-29 10:06:33.214397+00', 0, NULL, '{vip,t1}', '{"n": 1}', '{"name":"n1"}', '"Hello, n1!"'),
	('01a226c5-3779-7076-8fc8-b3bd3b3cd59b', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c4-fdc2-70e6-af71-37fb92869507', 'SUCCEEDED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:28.729+00', '2026-11-29 10:06:33.214397+00', '2026-11-29 10:06:33.448812+00', '2026-11-29 10:06:33.448812+00', NULL, NULL, 184, NULL, '01a226c5-3779-7076-8fc8-b3bd3b3cd59b', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, 0, '2026-11-29 10:06:33.214397+00', 0, NULL, '{vip,t2}', '{"n": 2}', '{"name":"n2"}', '"Hello, n2!"'),
	('01a226c5-4b0b-701d-b95d-a7343ffb7470', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c4-fdc2-70e6-af71-37fb92869507', 'SUCCEEDED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:33.739+00', '2026-11-29 10:06:33.842125+00', '2026-11-29 10:06:33.921442+00', '2026-11-29 10:06:33.921442+00', NULL, NULL, 71, NULL, '01a226c5-4b0b-701d-b95d-a7343ffb7470', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, 0, '2026-11-29 10:06:33.842125+00', 0, NULL, '{vip,t3}', '{"n": 3}', '{"name":"n3"}', '"Hello, n3!"'),
	('01a226c5-4cde-7054-b166-f16533051189', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c4-fdc2-70e6-af71-37fb92869507', 'SUCCEEDED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:34.206+00', '2026-11-29 10:06:34.219008+00', '2026-11-29 10:06:34.242851+00', '2026-11-29 10:06:34.242851+00', NULL, NULL, 21, NULL, '01a226c5-4cde-7054-b166-f16533051189', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, 0, '2026-11-29 10:06:34.219008+00', 0, NULL, '{vip,t4}', '{"n": 4}', '{"name":"n4"}', '"Hello, n4!"'),
	('01a226c5-4dcf-70f2-944f-2d916054e2d8', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-ff12-70e2-985e-d454697f2208', '01a226c4-ff18-704c-a9a9-bbd5716036a9', 'SUCCEEDED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:34.447+00', '2026-11-29 10:06:34.480497+00', '2026-11-29 10:06:35.126349+00', '2026-11-29 10:06:35.126349+00', NULL, NULL, 645, NULL, '01a226c5-4dcf-70f2-944f-2d916054e2d8', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, 'order-1', 'shop', NULL, NULL, NULL, NULL, NULL, 1, NULL, 0, '2026-11-29 10:06:34.480497+00', 0, NULL, '{}', '{}', '{"url":"http://127.0.0.1:45185/page"}', '{"status":200,"headers":{"server":"BaseHTTP/0.6 Python/3.11.7","date":"Sun, 29 Nov 2026 10:06:34 GMT","content-type":"text/plain"},"file":{"id":"file_01a226c55068703dbf2c21b5b637f26f","name":"page.txt","size":6,"mediaType":"text/plain"}}'),
	('01a226c5-51f9-70c6-a1e5-4173f0e4b999', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-0173-7002-a4b7-9b51bf6aae65', 'FAILED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:35.513+00', '2026-11-29 10:06:35.53939+00', '2026-11-29 10:06:35.725043+00', '2026-11-29 10:06:35.725043+00', NULL, NULL, 185, NULL, '01a226c5-51f9-70c6-a1e5-4173f0e4b999', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, 'second', 'TEMPLATE_ERROR', 'run.input.missing (null) has no ''part''', '94dce5bc48452194', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, 0, '2026-11-29 10:06:35.53939+00', 0, NULL, '{}', '{}', '{"missing":null}', NULL),
	('01a226c5-54a6-70d8-82fd-bedc799a4029', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-0173-7002-a4b7-9b51bf6aae65', 'FAILED', 'PRODUCTION', 'RETRY', NULL, '2026-11-29 10:06:36.198+00', '2026-11-29 10:06:36.405874+00', '2026-11-29 10:06:36.572886+00', '2026-11-29 10:06:36.572886+00', NULL, NULL, 163, NULL, '01a226c5-54a6-70d8-82fd-bedc799a4029', 0, NULL, NULL, NULL, false, '01a226c5-51f9-70c6-a1e5-4173f0e4b999', 2, NULL, NULL, 'second', 'TEMPLATE_ERROR', 'run.input.missing (null) has no ''part''', '94dce5bc48452194', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, 0, '2026-11-29 10:06:36.405874+00', 0, NULL, '{}', '{}', '{"missing":null}', NULL),
	('01a226c5-08ce-7038-9213-9e5e389abfee', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c4-fdc2-70e6-af71-37fb92869507', 'SUCCEEDED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:16.782+00', '2026-11-29 10:06:33.214397+00', '2026-11-29 10:06:33.484548+00', '2026-11-29 10:06:40.819358+00', '2026-11-29 10:06:40.819358+00', '01a226c5-64f6-7017-9647-4cfe27778104', 202, NULL, '01a226c5-08ce-7038-9213-9e5e389abfee', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, 0, '2026-11-29 10:06:33.214397+00', 0, NULL, '{vip,t0}', '{"n": 0}', '{"name":"n0"}', '"Hello, n0!"'),
	('01a226c5-5704-700c-ae70-2f912e2b7ecd', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-03fa-709d-9578-236ecd2eb331', 'STOPPED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:36.804+00', '2026-11-29 10:06:36.825641+00', '2026-11-29 10:06:37.523098+00', '2026-11-29 10:06:37.523098+00', NULL, NULL, 697, NULL, '01a226c5-5704-700c-ae70-2f912e2b7ecd', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 2, NULL, 0, NULL, 247, NULL, '{}', '{}', '{"n":1}', NULL),
	('01a226c5-5e25-7046-a647-d25b27a00ffe', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-03fa-709d-9578-236ecd2eb331', 'PAUSED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:38.629+00', '2026-11-29 10:06:38.661958+00', NULL, '2026-11-29 10:06:38.744422+00', NULL, NULL, NULL, NULL, '01a226c5-5e25-7046-a647-d25b27a00ffe', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'once', '28b77cdc4293170ebfaa1eb4b2d5e1d9ab06dea28b8b6fdfb6a756a297db2e97', NULL, NULL, NULL, 2, NULL, 0, NULL, 82, NULL, '{}', '{}', '{"n":2}', NULL),
	('01a226c5-5fc4-7085-86b2-761fe9552525', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-029c-7017-ab91-06ea3761f7a4', '01a226c5-029d-70d0-a732-5cc6ae1c99af', 'PAUSED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:39.044+00', '2026-11-29 10:06:39.138357+00', NULL, '2026-11-29 10:06:39.233481+00', NULL, NULL, NULL, NULL, '01a226c5-5fc4-7085-86b2-761fe9552525', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-29 10:08:09.210368+00', NULL, NULL, 2, NULL, 0, NULL, 95, NULL, '{}', '{}', '{}', NULL),
	('01a226c5-6206-70d5-88d1-dc0f3a3eb50a', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c4-fdc2-70e6-af71-37fb92869507', 'SUCCEEDED', 'PRODUCTION', 'PARENT', NULL, '2026-11-29 10:06:39.622+00', '2026-11-29 10:06:39.778509+00', '2026-11-29 10:06:40.073098+00', '2026-11-29 10:06:40.073098+00', NULL, NULL, 276, '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', 1, 0, 1, 0, true, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, 0, '2026-11-29 10:06:39.778509+00', 0, NULL, '{}', '{}', '{"name":"a"}', '"Hello, a!"'),
	('01a226c5-6237-70e4-8ebc-215cd3a7a7f6', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c4-fdc2-70e6-af71-37fb92869507', 'SUCCEEDED', 'PRODUCTION', 'PARENT', NULL, '2026-11-29 10:06:39.671+00', '2026-11-29 10:06:39.778509+00', '2026-11-29 10:06:40.078978+00', '2026-11-29 10:06:40.078978+00', NULL, NULL, 276, '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', 1, 0, 1, 1, true, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, 0, '2026-11-29 10:06:39.778509+00', 0, NULL, '{}', '{}', '{"name":"b"}', '"Hello, b!"'),
	('01a226c5-6137-70c8-9bb4-fd9cf5777f6f', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0570-706f-a44c-517a461af65c', '01a226c5-0578-7009-8cc5-c7b32f0e8eb0', 'PAUSED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:39.415+00', '2026-11-29 10:06:39.461673+00', NULL, '2026-11-29 10:06:40.724946+00', NULL, NULL, NULL, NULL, '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 3, NULL, 0, NULL, 371, NULL, '{}', '{}', '{}', NULL),
	('01a226c5-6642-70f4-8be6-2ebf9b10984c', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-03fa-709d-9578-236ecd2eb331', 'PAUSED', 'PRODUCTION', 'PARENT', NULL, '2026-11-29 10:06:40.706+00', '2026-11-29 10:06:40.846263+00', NULL, '2026-11-29 10:06:40.976833+00', NULL, NULL, NULL, '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', 1, 1, 1, 0, true, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 2, NULL, 0, NULL, 131, NULL, '{}', '{}', '{}', NULL),
	('01a226c5-6288-7082-9876-3e574164e6c6', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-003d-70f4-aac7-bc4c7ad1bb94', '01a226c5-003e-7019-a8d2-b6fbb3104000', 'RUNNING', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:39.752+00', '2026-11-29 10:06:39.999848+00', NULL, '2026-11-29 10:06:39.999848+00', NULL, NULL, NULL, NULL, '01a226c5-6288-7082-9876-3e574164e6c6', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-29 10:06:57.817317+00', NULL, NULL, 1, '01a226c5-635e-7073-8777-d973418c71e3', 0, '2026-11-29 10:06:39.999848+00', 0, NULL, '{}', '{}', '{"url":"http://127.0.0.1:45185/slow"}', NULL),
	('01a226c5-7291-70e1-8f16-96751d3998f3', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c4-fdc2-70e6-af71-37fb92869507', 'QUEUED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:43.857+00', NULL, NULL, '2026-11-29 10:06:43.857+00', NULL, NULL, NULL, NULL, '01a226c5-7291-70e1-8f16-96751d3998f3', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-29 10:06:43.857+00', NULL, NULL, 1, NULL, 0, NULL, 0, NULL, '{queued}', '{}', '{"name":"queued 0"}', NULL),
	('01a226c5-73a7-7007-9c8d-914a82d04e2d', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c4-fdc2-70e6-af71-37fb92869507', 'QUEUED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:44.135+00', NULL, NULL, '2026-11-29 10:06:44.135+00', NULL, NULL, NULL, NULL, '01a226c5-73a7-7007-9c8d-914a82d04e2d', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-29 10:06:44.135+00', NULL, NULL, 1, NULL, 0, NULL, 0, NULL, '{queued}', '{}', '{"name":"queued 1"}', NULL),
	('01a226c5-743a-7000-92d2-b61d946d4c32', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c4-fdc2-70e6-af71-37fb92869507', 'QUEUED', 'PRODUCTION', 'API', NULL, '2026-11-29 10:06:44.282+00', NULL, NULL, '2026-11-29 10:06:44.282+00', NULL, NULL, NULL, NULL, '01a226c5-743a-7000-92d2-b61d946d4c32', 0, NULL, NULL, NULL, false, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-11-29 10:06:44.282+00', NULL, NULL, 1, NULL, 0, NULL, 0, NULL, '{queued}', '{}', '{"name":"queued 2"}', NULL);
INSERT INTO public.flow_version VALUES
	('01a226c4-fdc2-70e6-af71-37fb92869507', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', 1, 1, '{"steps":[{"name":"hello","kind":"transform","input":"Hello, {{ run.input.name }}!"}]}', '2026-11-29 10:06:13.954+00'),
	('01a226c4-ff18-704c-a9a9-bbd5716036a9', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-ff12-70e2-985e-d454697f2208', 1, 1, '{"steps":[{"name":"fetch","kind":"http","input":{"url":"{{ run.input.url }}","saveAs":"page.txt"}}]}', '2026-11-29 10:06:14.296+00'),
	('01a226c5-003e-7019-a8d2-b6fbb3104000', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-003d-70f4-aac7-bc4c7ad1bb94', 1, 2, '{"steps":[{"name":"call","kind":"http","input":{"url":"{{ run.input.url }}"},"continueOnFailure":true},{"name":"after","kind":"transform","input":"went on"}]}', '2026-11-29 10:06:14.59+00'),
	('01a226c5-0173-7002-a4b7-9b51bf6aae65', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', 1, 2, '{"steps":[{"name":"first","kind":"transform","input":1},{"name":"second","kind":"transform","input":"{{ run.input.missing.part }}","retry":{"attempts":2}}]}', '2026-11-29 10:06:14.899+00'),
	('01a226c5-029d-70d0-a732-5cc6ae1c99af', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-029c-7017-ab91-06ea3761f7a4', 1, 1, '{"steps":[{"name":"wait","kind":"delay","input":{"for":90}}]}', '2026-11-29 10:06:15.197+00'),
	('01a226c5-03fa-709d-9578-236ecd2eb331', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', 1, 2, '{"steps":[{"name":"ask","kind":"humanInput","input":{"title":"Go on?","schema":{"type":"object"}}},{"name":"end","kind":"transform","input":"{{ steps.ask.output }}"}]}', '2026-11-29 10:06:15.546+00'),
	('01a226c5-0578-7009-8cc5-c7b32f0e8eb0', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0570-706f-a44c-517a461af65c', 1, 2, '{"steps":[{"name":"children","kind":"flow","input":{"flow":"greet","forEach":["a","b"],"input":{"name":"{{ item }}"}}},{"name":"asks","kind":"flow","input":{"flow":"ask"}}]}', '2026-11-29 10:06:15.928+00');
INSERT INTO public.input_request VALUES
	('01a226c5-5773-70b7-9e31-4f41f1caca70', '01a226c5-5704-700c-ae70-2f912e2b7ecd', 0, 'CANCELLED', 'ask', 'Go on?', NULL, NULL, '{"type":"object"}', '2026-11-29 10:06:36.915689+00', NULL, NULL, NULL),
	('01a226c5-5e6b-7043-bcb3-d2093344c1e0', '01a226c5-5e25-7046-a647-d25b27a00ffe', 0, 'PENDING', 'ask', 'Go on?', NULL, NULL, '{"type":"object"}', '2026-11-29 10:06:38.699751+00', NULL, NULL, NULL),
	('01a226c5-66e2-7095-a38d-6231bfc97744', '01a226c5-6642-70f4-8be6-2ebf9b10984c', 0, 'PENDING', 'ask', 'Go on?', NULL, NULL, '{"type":"object"}', '2026-11-29 10:06:40.86609+00', NULL, NULL, NULL);
INSERT INTO public.pgqueuer VALUES
	(12, 10, NULL, '2026-11-29 10:06:39.211171+00', '2026-11-29 10:06:39.211171+00', '2026-11-29 10:06:39.211171+00', '2026-11-29 10:08:09.210368+00', 'queued', 'flow_run', '01a226c5-5fc4-7085-86b2-761fe9552525:2', '\x30316132323663352d356663342d373038352d383662322d3736316665393535323532353a32', NULL, 0, NULL),
	(19, 0, NULL, '2026-11-29 10:06:43.857628+00', '2026-11-29 10:06:43.857628+00', '2026-11-29 10:06:43.857628+00', '2026-11-29 10:06:43.857+00', 'queued', 'flow_run', '01a226c5-7291-70e1-8f16-96751d3998f3:1', '\x30316132323663352d373239312d373065312d386631362d3936373531643339393866333a31', NULL, 0, NULL),
	(20, 0, NULL, '2026-11-29 10:06:44.136129+00', '2026-11-29 10:06:44.136129+00', '2026-11-29 10:06:44.136129+00', '2026-11-29 10:06:44.135+00', 'queued', 'flow_run', '01a226c5-73a7-7007-9c8d-914a82d04e2d:1', '\x30316132323663352d373361372d373030372d396338642d3931346138326430346532643a31', NULL, 0, NULL),
	(21, 0, NULL, '2026-11-29 10:06:44.282997+00', '2026-11-29 10:06:44.282997+00', '2026-11-29 10:06:44.282997+00', '2026-11-29 10:06:44.282+00', 'queued', 'flow_run', '01a226c5-743a-7000-92d2-b61d946d4c32:1', '\x30316132323663352d373433612d373030302d393264322d6236316439343664346333323a31', NULL, 0, NULL);
INSERT INTO public.project VALUES
	('01a226c4-f3c3-700f-b60e-4efb52d6b19b', 'default', 10, NULL, NULL, NULL, NULL, '2026-11-29 10:06:11.395+00');
INSERT INTO public.run_event VALUES
	(1, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-08ce-7038-9213-9e5e389abfee', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:16.782+00'),
	(2, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-2121-70ec-ade6-f77df1684c66', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:23.009+00'),
	(3, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-3779-7076-8fc8-b3bd3b3cd59b', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:28.729+00'),
	(4, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-3779-7076-8fc8-b3bd3b3cd59b', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:33.214397+00'),
	(5, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-2121-70ec-ade6-f77df1684c66', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:33.214397+00'),
	(6, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-08ce-7038-9213-9e5e389abfee', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:33.214397+00'),
	(7, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-3779-7076-8fc8-b3bd3b3cd59b', NULL, 'STEP_STATUS', 'hello', 'PENDING', 'RUNNING', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:33.351121+00'),
	(8, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-2121-70ec-ade6-f77df1684c66', NULL, 'STEP_STATUS', 'hello', 'PENDING', 'RUNNING', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:33.403454+00'),
	(9, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-08ce-7038-9213-9e5e389abfee', NULL, 'STEP_STATUS', 'hello', 'PENDING', 'RUNNING', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:33.401006+00'),
	(10, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-2121-70ec-ade6-f77df1684c66', NULL, 'STEP_STATUS', 'hello', 'RUNNING', 'SUCCEEDED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:33.433533+00'),
	(11, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-2121-70ec-ade6-f77df1684c66', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'SUCCEEDED', 'Run succeeded', NULL, '2026-11-29 10:06:33.466401+00'),
	(12, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-3779-7076-8fc8-b3bd3b3cd59b', NULL, 'STEP_STATUS', 'hello', 'RUNNING', 'SUCCEEDED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:33.42469+00'),
	(13, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-3779-7076-8fc8-b3bd3b3cd59b', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'SUCCEEDED', 'Run succeeded', NULL, '2026-11-29 10:06:33.448812+00'),
	(14, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-08ce-7038-9213-9e5e389abfee', NULL, 'STEP_STATUS', 'hello', 'RUNNING', 'SUCCEEDED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:33.478992+00'),
	(15, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-08ce-7038-9213-9e5e389abfee', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'SUCCEEDED', 'Run succeeded', NULL, '2026-11-29 10:06:33.484548+00'),
	(16, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-4b0b-701d-b95d-a7343ffb7470', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:33.739+00'),
	(17, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-4b0b-701d-b95d-a7343ffb7470', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:33.842125+00'),
	(18, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-4b0b-701d-b95d-a7343ffb7470', NULL, 'STEP_STATUS', 'hello', 'PENDING', 'RUNNING', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:33.903904+00'),
	(19, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-4b0b-701d-b95d-a7343ffb7470', NULL, 'STEP_STATUS', 'hello', 'RUNNING', 'SUCCEEDED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:33.917633+00'),
	(20, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-4b0b-701d-b95d-a7343ffb7470', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'SUCCEEDED', 'Run succeeded', NULL, '2026-11-29 10:06:33.921442+00'),
	(21, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-4cde-7054-b166-f16533051189', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:34.206+00'),
	(22, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-4cde-7054-b166-f16533051189', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:34.219008+00'),
	(23, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-4cde-7054-b166-f16533051189', NULL, 'STEP_STATUS', 'hello', 'PENDING', 'RUNNING', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:34.238703+00'),
	(24, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-4cde-7054-b166-f16533051189', NULL, 'STEP_STATUS', 'hello', 'RUNNING', 'SUCCEEDED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:34.242088+00'),
	(25, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-4cde-7054-b166-f16533051189', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'SUCCEEDED', 'Run succeeded', NULL, '2026-11-29 10:06:34.242851+00'),
	(26, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-ff12-70e2-985e-d454697f2208', '01a226c5-4dcf-70f2-944f-2d916054e2d8', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:34.447+00'),
	(27, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-ff12-70e2-985e-d454697f2208', '01a226c5-4dcf-70f2-944f-2d916054e2d8', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:34.480497+00'),
	(28, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-ff12-70e2-985e-d454697f2208', '01a226c5-4dcf-70f2-944f-2d916054e2d8', NULL, 'STEP_STATUS', 'fetch', 'PENDING', 'RUNNING', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:34.53224+00'),
	(29, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-ff12-70e2-985e-d454697f2208', '01a226c5-4dcf-70f2-944f-2d916054e2d8', NULL, 'LOG_LINES', NULL, NULL, NULL, NULL, '{"first":1,"last":1}', '2026-11-29 10:06:35.136664+00'),
	(30, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-ff12-70e2-985e-d454697f2208', '01a226c5-4dcf-70f2-944f-2d916054e2d8', NULL, 'STEP_STATUS', 'fetch', 'RUNNING', 'SUCCEEDED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:35.130971+00'),
	(31, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-ff12-70e2-985e-d454697f2208', '01a226c5-4dcf-70f2-944f-2d916054e2d8', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'SUCCEEDED', 'Run succeeded', NULL, '2026-11-29 10:06:35.126349+00'),
	(32, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-51f9-70c6-a1e5-4173f0e4b999', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:35.513+00'),
	(33, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-51f9-70c6-a1e5-4173f0e4b999', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:35.53939+00'),
	(34, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-51f9-70c6-a1e5-4173f0e4b999', NULL, 'STEP_STATUS', 'first', 'PENDING', 'RUNNING', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:35.681458+00'),
	(35, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-51f9-70c6-a1e5-4173f0e4b999', NULL, 'STEP_STATUS', 'first', 'RUNNING', 'SUCCEEDED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:35.697016+00'),
	(36, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-51f9-70c6-a1e5-4173f0e4b999', NULL, 'STEP_STATUS', 'second', 'PENDING', 'RUNNING', NULL, '{"position":1,"attempt":1}', '2026-11-29 10:06:35.704415+00'),
	(37, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-51f9-70c6-a1e5-4173f0e4b999', NULL, 'LOG_LINES', NULL, NULL, NULL, NULL, '{"first":1,"last":1}', '2026-11-29 10:06:35.740015+00'),
	(38, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-51f9-70c6-a1e5-4173f0e4b999', NULL, 'STEP_STATUS', 'second', 'RUNNING', 'FAILED', NULL, '{"position":1,"attempt":1}', '2026-11-29 10:06:35.727533+00'),
	(39, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-51f9-70c6-a1e5-4173f0e4b999', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'FAILED', 'Step ''second'': run.input.missing (null) has no ''part''', NULL, '2026-11-29 10:06:35.725043+00'),
	(40, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-54a6-70d8-82fd-bedc799a4029', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Retry of run_01a226c551f970c6a1e54173f0e4b999 from its failed step', NULL, '2026-11-29 10:06:36.198+00'),
	(41, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-54a6-70d8-82fd-bedc799a4029', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:36.405874+00'),
	(42, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-54a6-70d8-82fd-bedc799a4029', NULL, 'STEP_STATUS', 'second', 'PENDING', 'RUNNING', NULL, '{"position":1,"attempt":1}', '2026-11-29 10:06:36.54392+00'),
	(43, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-54a6-70d8-82fd-bedc799a4029', NULL, 'LOG_LINES', NULL, NULL, NULL, NULL, '{"first":1,"last":1}', '2026-11-29 10:06:36.58164+00'),
	(44, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-54a6-70d8-82fd-bedc799a4029', NULL, 'STEP_STATUS', 'second', 'RUNNING', 'FAILED', NULL, '{"position":1,"attempt":1}', '2026-11-29 10:06:36.574964+00'),
	(45, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0172-7017-9c25-7c3f2882ca04', '01a226c5-54a6-70d8-82fd-bedc799a4029', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'FAILED', 'Step ''second'': run.input.missing (null) has no ''part''', NULL, '2026-11-29 10:06:36.572886+00'),
	(46, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-5704-700c-ae70-2f912e2b7ecd', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:36.804+00'),
	(47, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-5704-700c-ae70-2f912e2b7ecd', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:36.825641+00'),
	(48, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-5704-700c-ae70-2f912e2b7ecd', NULL, 'LOG_LINES', NULL, NULL, NULL, NULL, '{"first":1,"last":1}', '2026-11-29 10:06:37.307191+00'),
	(49, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-5704-700c-ae70-2f912e2b7ecd', NULL, 'STEP_STATUS', 'ask', 'PENDING', 'PAUSED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:36.948719+00'),
	(50, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-5704-700c-ae70-2f912e2b7ecd', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'PAUSED', 'Waiting for an answer: Go on?', NULL, '2026-11-29 10:06:37.072915+00'),
	(51, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-5704-700c-ae70-2f912e2b7ecd', NULL, 'STEP_STATUS', 'ask', 'PAUSED', 'STOPPED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:37.556097+00'),
	(52, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-5704-700c-ae70-2f912e2b7ecd', NULL, 'RUN_STATUS', NULL, 'PAUSED', 'STOPPED', 'Cancelled with the key ''bootstrap''', NULL, '2026-11-29 10:06:37.523098+00'),
	(53, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-5e25-7046-a647-d25b27a00ffe', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:38.629+00'),
	(54, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-5e25-7046-a647-d25b27a00ffe', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:38.661958+00'),
	(55, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-5e25-7046-a647-d25b27a00ffe', NULL, 'LOG_LINES', NULL, NULL, NULL, NULL, '{"first":1,"last":1}', '2026-11-29 10:06:38.77943+00'),
	(56, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-5e25-7046-a647-d25b27a00ffe', NULL, 'STEP_STATUS', 'ask', 'PENDING', 'PAUSED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:38.725598+00'),
	(57, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-5e25-7046-a647-d25b27a00ffe', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'PAUSED', 'Waiting for an answer: Go on?', NULL, '2026-11-29 10:06:38.744422+00'),
	(59, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-029c-7017-ab91-06ea3761f7a4', '01a226c5-5fc4-7085-86b2-761fe9552525', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:39.138357+00'),
	(60, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-029c-7017-ab91-06ea3761f7a4', '01a226c5-5fc4-7085-86b2-761fe9552525', NULL, 'LOG_LINES', NULL, NULL, NULL, NULL, '{"first":1,"last":1}', '2026-11-29 10:06:39.248753+00'),
	(61, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-029c-7017-ab91-06ea3761f7a4', '01a226c5-5fc4-7085-86b2-761fe9552525', NULL, 'STEP_STATUS', 'wait', 'PENDING', 'PAUSED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:39.22244+00'),
	(62, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-029c-7017-ab91-06ea3761f7a4', '01a226c5-5fc4-7085-86b2-761fe9552525', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'PAUSED', 'Waiting until 2026-11-29 10:08:09 UTC', NULL, '2026-11-29 10:06:39.233481+00'),
	(64, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0570-706f-a44c-517a461af65c', '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:39.461673+00'),
	(65, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0570-706f-a44c-517a461af65c', '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', NULL, 'LOG_LINES', NULL, NULL, NULL, NULL, '{"first":1,"last":1}', '2026-11-29 10:06:39.711515+00'),
	(66, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0570-706f-a44c-517a461af65c', '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', NULL, 'STEP_STATUS', 'children', 'PENDING', 'PAUSED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:39.612453+00'),
	(67, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-6206-70d5-88d1-dc0f3a3eb50a', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via parent', NULL, '2026-11-29 10:06:39.622+00'),
	(68, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-6237-70e4-8ebc-215cd3a7a7f6', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via parent', NULL, '2026-11-29 10:06:39.671+00'),
	(69, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0570-706f-a44c-517a461af65c', '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'PAUSED', 'Waiting for 2 child runs', NULL, '2026-11-29 10:06:39.696975+00'),
	(71, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-6237-70e4-8ebc-215cd3a7a7f6', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:39.778509+00'),
	(72, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-6206-70d5-88d1-dc0f3a3eb50a', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:39.778509+00'),
	(73, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-003d-70f4-aac7-bc4c7ad1bb94', '01a226c5-6288-7082-9876-3e574164e6c6', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:39.999848+00'),
	(74, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-6206-70d5-88d1-dc0f3a3eb50a', NULL, 'STEP_STATUS', 'hello', 'PENDING', 'RUNNING', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:39.949589+00'),
	(75, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-6237-70e4-8ebc-215cd3a7a7f6', NULL, 'STEP_STATUS', 'hello', 'PENDING', 'RUNNING', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:39.949589+00'),
	(76, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-003d-70f4-aac7-bc4c7ad1bb94', '01a226c5-6288-7082-9876-3e574164e6c6', NULL, 'STEP_STATUS', 'call', 'PENDING', 'RUNNING', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:40.290447+00'),
	(58, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-029c-7017-ab91-06ea3761f7a4', '01a226c5-5fc4-7085-86b2-761fe9552525', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:39.044+00'),
	(63, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0570-706f-a44c-517a461af65c', '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:39.415+00'),
	(70, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-003d-70f4-aac7-bc4c7ad1bb94', '01a226c5-6288-7082-9876-3e574164e6c6', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:39.752+00'),
	(82, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', NULL, NULL, '01a226c5-64f6-7017-9647-4cfe27778104', 'BULK_PROGRESS', NULL, NULL, NULL, NULL, '{"status":"RUNNING","matched":1,"processed":0,"succeeded":0,"skipped":0,"failed":0}', '2026-11-29 10:06:40.737789+00'),
	(92, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-08ce-7038-9213-9e5e389abfee', NULL, 'RUN_ARCHIVED', NULL, NULL, NULL, NULL, NULL, '2026-11-29 10:06:40.819358+00'),
	(93, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', NULL, NULL, '01a226c5-64f6-7017-9647-4cfe27778104', 'BULK_PROGRESS', NULL, NULL, NULL, NULL, '{"status":"COMPLETED","matched":1,"processed":1,"succeeded":1,"skipped":0,"failed":0}', '2026-11-29 10:06:41.0767+00'),
	(77, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-6206-70d5-88d1-dc0f3a3eb50a', NULL, 'STEP_STATUS', 'hello', 'RUNNING', 'SUCCEEDED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:40.106741+00'),
	(78, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-6206-70d5-88d1-dc0f3a3eb50a', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'SUCCEEDED', 'Run succeeded', NULL, '2026-11-29 10:06:40.073098+00'),
	(79, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-6237-70e4-8ebc-215cd3a7a7f6', NULL, 'STEP_STATUS', 'hello', 'RUNNING', 'SUCCEEDED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:40.136248+00'),
	(80, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-6237-70e4-8ebc-215cd3a7a7f6', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'SUCCEEDED', 'Run succeeded', NULL, '2026-11-29 10:06:40.078978+00'),
	(81, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0570-706f-a44c-517a461af65c', '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', NULL, 'RUN_STATUS', NULL, 'PAUSED', 'RUNNING', 'Run goes on', NULL, '2026-11-29 10:06:40.588531+00'),
	(83, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0570-706f-a44c-517a461af65c', '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', NULL, 'LOG_LINES', NULL, NULL, NULL, NULL, '{"first":2,"last":2}', '2026-11-29 10:06:40.745114+00'),
	(84, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0570-706f-a44c-517a461af65c', '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', NULL, 'STEP_STATUS', 'children', 'PAUSED', 'SUCCEEDED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:40.684993+00'),
	(85, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0570-706f-a44c-517a461af65c', '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', NULL, 'STEP_STATUS', 'asks', 'PENDING', 'PAUSED', NULL, '{"position":1,"attempt":1}', '2026-11-29 10:06:40.696453+00'),
	(86, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-6642-70f4-8be6-2ebf9b10984c', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via parent', NULL, '2026-11-29 10:06:40.706+00'),
	(87, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-0570-706f-a44c-517a461af65c', '01a226c5-6137-70c8-9bb4-fd9cf5777f6f', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'PAUSED', 'Waiting for a child run', NULL, '2026-11-29 10:06:40.724946+00'),
	(88, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-6642-70f4-8be6-2ebf9b10984c', NULL, 'RUN_STATUS', NULL, 'QUEUED', 'RUNNING', 'Run started', NULL, '2026-11-29 10:06:40.846263+00'),
	(89, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-6642-70f4-8be6-2ebf9b10984c', NULL, 'LOG_LINES', NULL, NULL, NULL, NULL, '{"first":1,"last":1}', '2026-11-29 10:06:41.008377+00'),
	(90, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-6642-70f4-8be6-2ebf9b10984c', NULL, 'STEP_STATUS', 'ask', 'PENDING', 'PAUSED', NULL, '{"position":0,"attempt":1}', '2026-11-29 10:06:40.913417+00'),
	(91, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c5-03f9-70e8-9b53-50468c2e3b63', '01a226c5-6642-70f4-8be6-2ebf9b10984c', NULL, 'RUN_STATUS', NULL, 'RUNNING', 'PAUSED', 'Waiting for an answer: Go on?', NULL, '2026-11-29 10:06:40.976833+00'),
	(94, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-7291-70e1-8f16-96751d3998f3', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:43.857+00'),
	(95, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-73a7-7007-9c8d-914a82d04e2d', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:44.135+00'),
	(96, '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', '01a226c5-743a-7000-92d2-b61d946d4c32', NULL, 'RUN_STATUS', NULL, NULL, 'QUEUED', 'Flow started via api', NULL, '2026-11-29 10:06:44.282+00');
INSERT INTO public.run_file VALUES
	('01a226c5-5068-703d-bf2c-21b5b637f26f', '01a226c5-4dcf-70f2-944f-2d916054e2d8', 'fetch', 1, 'page.txt', 6, 'text/plain', '01a226c54dcf70f2944f2d916054e2d8/01a226c55068703dbf2c21b5b637f26f', '2026-11-29 10:06:35.112+00', NULL);
INSERT INTO public.run_log VALUES
	('01a226c5-4dcf-70f2-944f-2d916054e2d8', 1, '2026-11-29 10:06:34.894779+00', 'INFO', 'fetch', 1, 'GET http://127.0.0.1:45185/page answered 200 in 344 ms'),
	('01a226c5-51f9-70c6-a1e5-4173f0e4b999', 1, '2026-11-29 10:06:35.724563+00', 'ERROR', 'second', 1, 'Attempt 1 failed; the run fails. TEMPLATE_ERROR: run.input.missing (null) has no ''part'''),
	('01a226c5-54a6-70d8-82fd-bedc799a4029', 1, '2026-11-29 10:06:36.568916+00', 'ERROR', 'second', 1, 'Attempt 1 failed; the run fails. TEMPLATE_ERROR: run.input.missing (null) has no ''part'''),
	('01a226c5-5704-700c-ae70-2f912e2b7ecd', 1, '2026-11-29 10:06:36.915798+00', 'INFO', 'ask', 1, 'Waiting for an answer: Go on?'),
	('01a226c5-5e25-7046-a647-d25b27a00ffe', 1, '2026-11-29 10:06:38.699854+00', 'INFO', 'ask', 1, 'Waiting for an answer: Go on?'),
	('01a226c5-5fc4-7085-86b2-761fe9552525', 1, '2026-11-29 10:06:39.210455+00', 'INFO', 'wait', 1, 'Waiting until 2026-11-29 10:08:09 UTC'),
	('01a226c5-6137-70c8-9bb4-fd9cf5777f6f', 1, '2026-11-29 10:06:39.6014+00', 'INFO', 'children', 1, 'Waiting for 2 child runs'),
	('01a226c5-6137-70c8-9bb4-fd9cf5777f6f', 2, '2026-11-29 10:06:40.673062+00', 'INFO', 'asks', 1, 'Waiting for a child run'),
	('01a226c5-6642-70f4-8be6-2ebf9b10984c', 1, '2026-11-29 10:06:40.86619+00', 'INFO', 'ask', 1, 'Waiting for an answer: Go on?');
INSERT INTO public.schedule VALUES
	('01a226c5-6bcb-70d5-8e54-fb9cf85ed71c', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', 'yearly', true, '0 0 1 1 *', 'UTC', 'SKIP', 'PRODUCTION', '{}', '{}', '{}', '2027-01-01 00:00:00+00', NULL, NULL, NULL, '2026-11-29 10:06:42.123+00', '2026-11-29 10:06:42.123+00');
INSERT INTO public.step_attempt VALUES
	('01a226c5-3779-7076-8fc8-b3bd3b3cd59b', 0, 1, 'SUCCEEDED', '2026-11-29 10:06:33.351121+00', '2026-11-29 10:06:33.42469+00', NULL),
	('01a226c5-2121-70ec-ade6-f77df1684c66', 0, 1, 'SUCCEEDED', '2026-11-29 10:06:33.403454+00', '2026-11-29 10:06:33.433533+00', NULL),
	('01a226c5-08ce-7038-9213-9e5e389abfee', 0, 1, 'SUCCEEDED', '2026-11-29 10:06:33.401006+00', '2026-11-29 10:06:33.478992+00', NULL),
	('01a226c5-4b0b-701d-b95d-a7343ffb7470', 0, 1, 'SUCCEEDED', '2026-11-29 10:06:33.903904+00', '2026-11-29 10:06:33.917633+00', NULL),
	('01a226c5-4cde-7054-b166-f16533051189', 0, 1, 'SUCCEEDED', '2026-11-29 10:06:34.238703+00', '2026-11-29 10:06:34.242088+00', NULL),
	('01a226c5-4dcf-70f2-944f-2d916054e2d8', 0, 1, 'SUCCEEDED', '2026-11-29 10:06:34.53224+00', '2026-11-29 10:06:35.130971+00', NULL),
	('01a226c5-51f9-70c6-a1e5-4173f0e4b999', 0, 1, 'SUCCEEDED', '2026-11-29 10:06:35.681458+00', '2026-11-29 10:06:35.697016+00', NULL),
	('01a226c5-51f9-70c6-a1e5-4173f0e4b999', 1, 1, 'FAILED', '2026-11-29 10:06:35.704415+00', '2026-11-29 10:06:35.727533+00', '{"code":"TEMPLATE_ERROR","message":"run.input.missing (null) has no ''part''","details":{"path":""}}'),
	('01a226c5-54a6-70d8-82fd-bedc799a4029', 1, 1, 'FAILED', '2026-11-29 10:06:36.54392+00', '2026-11-29 10:06:36.574964+00', '{"code":"TEMPLATE_ERROR","message":"run.input.missing (null) has no ''part''","details":{"path":""}}'),
	('01a226c5-5704-700c-ae70-2f912e2b7ecd', 0, 1, 'STOPPED', '2026-11-29 10:06:36.948719+00', '2026-11-29 10:06:37.556097+00', NULL),
	('01a226c5-5e25-7046-a647-d25b27a00ffe', 0, 1, 'RUNNING', '2026-11-29 10:06:38.725598+00', NULL, NULL),
	('01a226c5-5fc4-7085-86b2-761fe9552525', 0, 1, 'RUNNING', '2026-11-29 10:06:39.22244+00', NULL, NULL),
	('01a226c5-6206-70d5-88d1-dc0f3a3eb50a', 0, 1, 'SUCCEEDED', '2026-11-29 10:06:39.949589+00', '2026-11-29 10:06:40.106741+00', NULL),
	('01a226c5-6237-70e4-8ebc-215cd3a7a7f6', 0, 1, 'SUCCEEDED', '2026-11-29 10:06:39.949589+00', '2026-11-29 10:06:40.136248+00', NULL),
	('01a226c5-6288-7082-9876-3e574164e6c6', 0, 1, 'RUNNING', '2026-11-29 10:06:40.290447+00', NULL, NULL),
	('01a226c5-6137-70c8-9bb4-fd9cf5777f6f', 0, 1, 'SUCCEEDED', '2026-11-29 10:06:39.612453+00', '2026-11-29 10:06:40.684993+00', NULL),
	('01a226c5-6137-70c8-9bb4-fd9cf5777f6f', 1, 1, 'RUNNING', '2026-11-29 10:06:40.696453+00', NULL, NULL),
	('01a226c5-6642-70f4-8be6-2ebf9b10984c', 0, 1, 'RUNNING', '2026-11-29 10:06:40.913417+00', NULL, NULL);
INSERT INTO public.step_result VALUES
	('01a226c5-3779-7076-8fc8-b3bd3b3cd59b', 0, 'hello', NULL, 'transform', 'SUCCEEDED', 1, '2026-11-29 10:06:33.351121+00', '2026-11-29 10:06:33.42469+00', 87, NULL, NULL, '"Hello, n2!"', '"Hello, n2!"'),
	('01a226c5-2121-70ec-ade6-f77df1684c66', 0, 'hello', NULL, 'transform', 'SUCCEEDED', 1, '2026-11-29 10:06:33.403454+00', '2026-11-29 10:06:33.433533+00', 89, NULL, NULL, '"Hello, n1!"', '"Hello, n1!"'),
	('01a226c5-08ce-7038-9213-9e5e389abfee', 0, 'hello', NULL, 'transform', 'SUCCEEDED', 1, '2026-11-29 10:06:33.401006+00', '2026-11-29 10:06:33.478992+00', 142, NULL, NULL, '"Hello, n0!"', '"Hello, n0!"'),
	('01a226c5-4b0b-701d-b95d-a7343ffb7470', 0, 'hello', NULL, 'transform', 'SUCCEEDED', 1, '2026-11-29 10:06:33.903904+00', '2026-11-29 10:06:33.917633+00', 46, NULL, NULL, '"Hello, n3!"', '"Hello, n3!"'),
	('01a226c5-4cde-7054-b166-f16533051189', 0, 'hello', NULL, 'transform', 'SUCCEEDED', 1, '2026-11-29 10:06:34.238703+00', '2026-11-29 10:06:34.242088+00', 6, NULL, NULL, '"Hello, n4!"', '"Hello, n4!"'),
	('01a226c5-4dcf-70f2-944f-2d916054e2d8', 0, 'fetch', NULL, 'http', 'SUCCEEDED', 1, '2026-11-29 10:06:34.53224+00', '2026-11-29 10:06:35.130971+00', 609, NULL, NULL, '{"url":"http://127.0.0.1:45185/page","saveAs":"page.txt"}', '{"status":200,"headers":{"server":"BaseHTTP/0.6 Python/3.11.7","date":"Sun, 29 Nov 2026 10:06:34 GMT","content-type":"text/plain"},"file":{"id":"file_01a226c55068703dbf2c21b5b637f26f","name":"page.txt","size":6,"mediaType":"text/plain"}}'),
	('01a226c5-51f9-70c6-a1e5-4173f0e4b999', 0, 'first', NULL, 'transform', 'SUCCEEDED', 1, '2026-11-29 10:06:35.681458+00', '2026-11-29 10:06:35.697016+00', 28, NULL, NULL, '1', '1'),
	('01a226c5-51f9-70c6-a1e5-4173f0e4b999', 1, 'second', NULL, 'transform', 'FAILED', 1, '2026-11-29 10:06:35.704415+00', '2026-11-29 10:06:35.727533+00', 34, NULL, '{"code":"TEMPLATE_ERROR","message":"run.input.missing (null) has no ''part''","details":{"path":""}}', NULL, NULL),
	('01a226c5-54a6-70d8-82fd-bedc799a4029', 0, 'first', NULL, 'transform', 'SUCCEEDED', 1, '2026-11-29 10:06:35.681458+00', '2026-11-29 10:06:35.697016+00', 28, '01a226c5-51f9-70c6-a1e5-4173f0e4b999', NULL, '1', '1'),
	('01a226c5-54a6-70d8-82fd-bedc799a4029', 1, 'second', NULL, 'transform', 'FAILED', 1, '2026-11-29 10:06:36.54392+00', '2026-11-29 10:06:36.574964+00', 88, NULL, '{"code":"TEMPLATE_ERROR","message":"run.input.missing (null) has no ''part''","details":{"path":""}}', NULL, NULL),
	('01a226c5-5704-700c-ae70-2f912e2b7ecd', 0, 'ask', NULL, 'humanInput', 'STOPPED', 1, '2026-11-29 10:06:36.948719+00', '2026-11-29 10:06:37.556097+00', 607, NULL, NULL, '{"title":"Go on?","schema":{"type":"object"}}', NULL),
	('01a226c5-5e25-7046-a647-d25b27a00ffe', 0, 'ask', NULL, 'humanInput', 'PAUSED', 1, '2026-11-29 10:06:38.725598+00', NULL, NULL, NULL, NULL, '{"title":"Go on?","schema":{"type":"object"}}', NULL),
	('01a226c5-5fc4-7085-86b2-761fe9552525', 0, 'wait', NULL, 'delay', 'PAUSED', 1, '2026-11-29 10:06:39.22244+00', NULL, NULL, NULL, NULL, '{"for":90.0}', NULL),
	('01a226c5-6206-70d5-88d1-dc0f3a3eb50a', 0, 'hello', NULL, 'transform', 'SUCCEEDED', 1, '2026-11-29 10:06:39.949589+00', '2026-11-29 10:06:40.106741+00', 240, NULL, NULL, '"Hello, a!"', '"Hello, a!"'),
	('01a226c5-6237-70e4-8ebc-215cd3a7a7f6', 0, 'hello', NULL, 'transform', 'SUCCEEDED', 1, '2026-11-29 10:06:39.949589+00', '2026-11-29 10:06:40.136248+00', 269, NULL, NULL, '"Hello, b!"', '"Hello, b!"'),
	('01a226c5-6288-7082-9876-3e574164e6c6', 0, 'call', NULL, 'http', 'RUNNING', 1, '2026-11-29 10:06:40.290447+00', NULL, NULL, NULL, NULL, '{"url":"http://127.0.0.1:45185/slow"}', NULL),
	('01a226c5-6137-70c8-9bb4-fd9cf5777f6f', 0, 'children', NULL, 'flow', 'SUCCEEDED', 1, '2026-11-29 10:06:39.612453+00', '2026-11-29 10:06:40.684993+00', 1072, NULL, NULL, '{"inputs":[{"name":"a"},{"name":"b"}]}', '["Hello, a!","Hello, b!"]'),
	('01a226c5-6137-70c8-9bb4-fd9cf5777f6f', 1, 'asks', NULL, 'flow', 'PAUSED', 1, '2026-11-29 10:06:40.696453+00', NULL, NULL, NULL, NULL, '{"inputs":[{}]}', NULL),
	('01a226c5-6642-70f4-8be6-2ebf9b10984c', 0, 'ask', NULL, 'humanInput', 'PAUSED', 1, '2026-11-29 10:06:40.913417+00', NULL, NULL, NULL, NULL, '{"title":"Go on?","schema":{"type":"object"}}', NULL);
INSERT INTO public.webhook VALUES
	('01a226c5-6a91-70ea-8316-c21113966362', '01a226c4-f3c3-700f-b60e-4efb52d6b19b', '01a226c4-fdb4-70c6-aeab-24988f6f9246', 'shop', 'PRODUCTION', 'f84c5becf532ed65847ca77412715f44106801d78b9c7c4cd5d983c2b06ad882', 'frh_L8aE', NULL, NULL, '2026-11-29 10:06:41.809+00', NULL);
SELECT pg_catalog.setval('public.pgqueuer_id_seq', 21, true);
SELECT pg_catalog.setval('public.pgqueuer_log_id_seq', 1, false);
SELECT pg_catalog.setval('public.pgqueuer_schedules_id_seq', 1, false);
SELECT pg_catalog.setval('public.pgqueuer_statistics_id_seq', 1, false);
SELECT pg_catalog.setval('public.run_event_seq_seq', 96, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.api_key
    ADD CONSTRAINT api_key_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.api_key
    ADD CONSTRAINT api_key_secret_hash_key UNIQUE (secret_hash);
ALTER TABLE ONLY public.bulk_operation
    ADD CONSTRAINT bulk_operation_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.bulk_outcome
    ADD CONSTRAINT bulk_outcome_pkey PRIMARY KEY (operation_id, run_id);
ALTER TABLE ONLY public.event_horizon
    ADD CONSTRAINT event_horizon_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.flow
    ADD CONSTRAINT flow_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.flow_run
    ADD CONSTRAINT flow_run_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.flow_version
    ADD CONSTRAINT flow_version_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.input_request
    ADD CONSTRAINT input_request_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.pgqueuer_log
    ADD CONSTRAINT pgqueuer_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.pgqueuer
    ADD CONSTRAINT pgqueuer_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.pgqueuer_schedules
    ADD CONSTRAINT pgqueuer_schedules_expression_entrypoint_key UNIQUE (expression, entrypoint);
ALTER TABLE ONLY public.pgqueuer_schedules
    ADD CONSTRAINT pgqueuer_schedules_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.pgqueuer_statistics
    ADD CONSTRAINT pgqueuer_statistics_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.project
    ADD CONSTRAINT project_name_key UNIQUE (name);
ALTER TABLE ONLY public.project
    ADD CONSTRAINT project_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.quota_use
    ADD CONSTRAINT quota_use_pkey PRIMARY KEY (project_id, period, began_at);
ALTER TABLE ONLY public.run_event
    ADD CONSTRAINT run_event_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY public.run_file
    ADD CONSTRAINT run_file_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.run_log
    ADD CONSTRAINT run_log_pkey PRIMARY KEY (run_id, number);
ALTER TABLE ONLY public.schedule
    ADD CONSTRAINT schedule_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.step_attempt
    ADD CONSTRAINT step_attempt_pkey PRIMARY KEY (run_id, "position", number);
ALTER TABLE ONLY public.step_result
    ADD CONSTRAINT step_result_pkey PRIMARY KEY (run_id, "position");
ALTER TABLE ONLY public.flow
    ADD CONSTRAINT uq_flow_project_name UNIQUE (project_id, name);
ALTER TABLE ONLY public.flow_version
    ADD CONSTRAINT uq_flow_version_number UNIQUE (flow_id, number);
ALTER TABLE ONLY public.webhook
    ADD CONSTRAINT webhook_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.webhook
    ADD CONSTRAINT webhook_token_hash_key UNIQUE (token_hash);
CREATE INDEX ix_bulk_operation_project ON public.bulk_operation USING btree (project_id, id);
CREATE INDEX ix_bulk_operation_status ON public.bulk_operation USING btree (status, id);
CREATE INDEX ix_flow_limited ON public.flow USING btree (project_id) WHERE (max_concurrent_runs IS NOT NULL);
CREATE INDEX ix_flow_project ON public.flow USING btree (project_id, id);
CREATE INDEX ix_input_request_run ON public.input_request USING btree (run_id, "position");
CREATE INDEX ix_run_due ON public.flow_run USING btree (due_at) WHERE (due_at IS NOT NULL);
CREATE INDEX ix_run_event_operation ON public.run_event USING btree (operation_id, seq) WHERE (operation_id IS NOT NULL);
CREATE INDEX ix_run_event_run ON public.run_event USING btree (run_id, seq);
CREATE INDEX ix_run_external ON public.flow_run USING btree (project_id, external_id, id) WHERE (external_id IS NOT NULL);
CREATE INDEX ix_run_failed_step ON public.flow_run USING btree (project_id, failed_step_name, id) WHERE (failed_step_name IS NOT NULL);
CREATE INDEX ix_run_file_purged ON public.run_file USING btree (id) WHERE (purged_at IS NOT NULL);
CREATE INDEX ix_run_file_run ON public.run_file USING btree (run_id, id);
CREATE INDEX ix_run_fingerprint ON public.flow_run USING btree (project_id, error_fingerprint, id) WHERE (error_fingerprint IS NOT NULL);
CREATE INDEX ix_run_flow ON public.flow_run USING btree (flow_id, id);
CREATE INDEX ix_run_held ON public.flow_run USING btree (held_by, held_at) WHERE (held_by IS NOT NULL);
CREATE INDEX ix_run_kept ON public.flow_run USING btree (project_id, finished_at) WHERE ((finished_at IS NOT NULL) AND (steps_purged_at IS NULL));
CREATE INDEX ix_run_metadata ON public.flow_run USING gin (metadata jsonb_path_ops);
CREATE INDEX ix_run_parent ON public.flow_run USING btree (parent_run_id, id) WHERE (parent_run_id IS NOT NULL);
CREATE INDEX ix_run_project ON public.flow_run USING btree (project_id, id);
CREATE INDEX ix_run_project_duration ON public.flow_run USING btree (project_id, COALESCE(duration_ms, ('-1'::integer)::bigint), id);
CREATE INDEX ix_run_project_finished ON public.flow_run USING btree (project_id, COALESCE(finished_at, '1970-01-01 00:00:00+00'::timestamp with time zone), id);
CREATE INDEX ix_run_project_started ON public.flow_run USING btree (project_id, COALESCE(started_at, '1970-01-01 00:00:00+00'::timestamp with time zone), id);
CREATE INDEX ix_run_project_status ON public.flow_run USING btree (project_id, status, id);
CREATE INDEX ix_run_retry_of ON public.flow_run USING btree (retry_of_id, id) WHERE (retry_of_id IS NOT NULL);
CREATE INDEX ix_run_tags ON public.flow_run USING gin (tags);
CREATE INDEX ix_schedule_due ON public.schedule USING btree (next_fire_at) WHERE (next_fire_at IS NOT NULL);
CREATE INDEX ix_schedule_flow ON public.schedule USING btree (flow_id, id);
CREATE INDEX ix_ticket_order ON public.pgqueuer USING btree (priority, execute_after, id) WHERE (status = 'queued'::public.pgqueuer_status);
CREATE INDEX ix_webhook_flow ON public.webhook USING btree (flow_id, id);
CREATE INDEX pgqueuer_log_created ON public.pgqueuer_log USING btree (created);
CREATE INDEX pgqueuer_log_job_id_status ON public.pgqueuer_log USING btree (job_id, created DESC);
CREATE INDEX pgqueuer_log_not_aggregated ON public.pgqueuer_log USING btree ((1)) WHERE (NOT aggregated);
CREATE INDEX pgqueuer_log_status ON public.pgqueuer_log USING btree (status);
CREATE INDEX pgqueuer_picked_heartbeat_idx ON public.pgqueuer USING btree (heartbeat) WHERE (status = 'picked'::public.pgqueuer_status);
CREATE UNIQUE INDEX pgqueuer_picked_slot_idx ON public.pgqueuer USING btree (entrypoint, slot) WHERE ((status = 'picked'::public.pgqueuer_status) AND (slot IS NOT NULL));
CREATE INDEX pgqueuer_queue_manager_id_idx ON public.pgqueuer USING btree (queue_manager_id) WHERE (queue_manager_id IS NOT NULL);
CREATE UNIQUE INDEX pgqueuer_statistics_unique_count ON public.pgqueuer_statistics USING btree (priority, date_trunc('sec'::text, timezone('UTC'::text, created)), status, entrypoint);
CREATE UNIQUE INDEX pgqueuer_unique_dedupe_key ON public.pgqueuer USING btree (dedupe_key) WHERE ((status = ANY (ARRAY['queued'::public.pgqueuer_status, 'picked'::public.pgqueuer_status])) AND (dedupe_key IS NOT NULL));
CREATE INDEX pgqueuer_updated_id_id1_idx ON public.pgqueuer USING btree (updated, id DESC) INCLUDE (id) WHERE (status = 'picked'::public.pgqueuer_status);
CREATE UNIQUE INDEX uq_bulk_operation_idempotency ON public.bulk_operation USING btree (project_id, idempotency_key) WHERE ((idempotency_key IS NOT NULL) AND (project_id IS NOT NULL));
CREATE UNIQUE INDEX uq_bulk_operation_operator ON public.bulk_operation USING btree (idempotency_key) WHERE ((idempotency_key IS NOT NULL) AND (project_id IS NULL));
CREATE UNIQUE INDEX uq_run_idempotency ON public.flow_run USING btree (project_id, idempotency_key) WHERE (idempotency_key IS NOT NULL);
ALTER TABLE ONLY public.api_key
    ADD CONSTRAINT api_key_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.bulk_operation
    ADD CONSTRAINT bulk_operation_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.flow
    ADD CONSTRAINT flow_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.flow_version
    ADD CONSTRAINT flow_version_flow_id_fkey FOREIGN KEY (flow_id) REFERENCES public.flow(id);
ALTER TABLE ONLY public.flow_version
    ADD CONSTRAINT flow_version_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.input_request
    ADD CONSTRAINT input_request_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.flow_run(id);
ALTER TABLE ONLY public.quota_use
    ADD CONSTRAINT quota_use_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.run_file
    ADD CONSTRAINT run_file_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.flow_run(id);
ALTER TABLE ONLY public.run_log
    ADD CONSTRAINT run_log_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.flow_run(id);
ALTER TABLE ONLY public.schedule
    ADD CONSTRAINT schedule_flow_id_fkey FOREIGN KEY (flow_id) REFERENCES public.flow(id);
ALTER TABLE ONLY public.schedule
    ADD CONSTRAINT schedule_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.project(id);
ALTER TABLE ONLY public.webhook
    ADD CONSTRAINT webhook_flow_id_fkey FOREIGN KEY (flow_id) REFERENCES public.flow(id);
ALTER TABLE ONLY public.webhook
    ADD CONSTRAINT webhook_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.project(id);
