#include "walproc/report.h"

#include "walproc/counts.h"
#include "walproc/intake.h"

void
report_init(struct walproc *walproc)
{
	walproc->report = (struct report){
	    .delivered = walproc->wal.cursor.slot.delivered,
	};
}

void
report_fini(struct report *report)
{
	reader_fini(&report->reader);
}

void
report_count(struct walproc *walproc)
{
	struct report *report = &walproc->report;
	uint64_t delivered = walproc->wal.cursor.slot.delivered;
	int64_t now;

	if (report->taken == walproc->taken && report->delivered == delivered)
		return;
	now = loop_now_ns();
	meter_add(&report->in, walproc->taken - report->taken, now);
	meter_add(&report->out, delivered - report->delivered, now);
	report->taken = walproc->taken;
	report->delivered = delivered;
}

/*
 * Finds the oldest event that is not ended and can be read; that it was found
 * is remembered until it is ended. Returns false if there is none.
 */
static bool
find_oldest(struct walproc *walproc)
{
	struct report *report = &walproc->report;
	uint64_t seq = wal_acked_seq(&walproc->wal) + 1;
	struct reader_event event;
	enum reader_status status;

	if (wal_elements(&walproc->wal) == 0)
		return false;
	if (report->oldest_seq >= seq)
		return true;
	if (report->reader.catalog == NULL)
		reader_init(&report->reader, &walproc->wal.catalog, seq);
	report->reader.is_looking = true;
	reader_skip_to(&report->reader, seq);
	do
		status = reader_next(
		    &report->reader, wal_ready_seq(&walproc->wal), &event);
	while (status == READER_DAMAGE);
	if (status != READER_EVENT)
		return false;
	report->oldest_seq = event.seq;
	report->oldest_ns = event.realtime_ns;
	return true;
}

static void
put_oldest(cJSON *json, struct walproc *walproc)
{
	int64_t ms;

	if (!find_oldest(walproc))
		return;
	ms = (loop_realtime_ns() - walproc->report.oldest_ns) / LOOP_NS_PER_MS;
	/* The clock was set back meanwhile. */
	counts_put_number(json, "oldest_ms", ms < 0 ? 0 : (uint64_t)ms);
}

static void
put_breakers(cJSON *json, const struct walproc *walproc)
{
	static const char *const words[] = {"closed", "open"};
	bool is_stopped = walproc->block != WALPROC_TAKING;
	struct msg msg;

	(void)cJSON_AddStringToObject(
	    json, "source_breaker", words[is_stopped]);
	if (is_stopped) {
		intake_put_block(walproc, &msg);
		(void)cJSON_AddStringToObject(
		    json, "source_breaker_reason", msg.reason);
	}
	(void)cJSON_AddStringToObject(json, "sink_breaker",
	    words[walproc->breaker_is_open || !streams_have_sink(walproc)]);
}

void
report_send(struct walproc *walproc)
{
	const struct wal *wal = &walproc->wal;
	const struct flight *flight = &walproc->flight;
	struct counts counts = counts_of(&wal->cursor.slot, wal->next_seq - 1);
	bool has_sink = streams_have_sink(walproc);
	int64_t now = loop_now_ns();
	cJSON *json;

	if (!streams_are_given(walproc))
		return;
	json = cJSON_CreateObject();
	counts_put(json, &counts);
	counts_put_number(json, "rejected", wal->cursor.slot.rejected);
	counts_put_number(json, "bytes", wal_bytes(wal));
	counts_put_number(json, "syncs", wal->syncs);
	counts_put_number(
	    json, "in_flight", has_sink ? flight->sent - flight->acked : 0);
	put_oldest(json, walproc);
	(void)cJSON_AddBoolToObject(
	    json, "source", streams_have_source(walproc));
	(void)cJSON_AddBoolToObject(json, "sink", has_sink);
	put_breakers(json, walproc);
	(void)cJSON_AddNumberToObject(
	    json, "in_rate", meter_rate(&walproc->report.in, now));
	(void)cJSON_AddNumberToObject(
	    json, "out_rate", meter_rate(&walproc->report.out, now));
	control_report(&walproc->streams.control, json);
}
