#include "walproc/report.h"

#include "walproc/block.h"
#include "walproc/counts.h"

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

/* Counts what each sink has confirmed. */
static void
count_outlets(struct walproc *walproc, int64_t now)
{
	struct streams *streams = &walproc->streams;

	for (size_t i = 0; i < streams->outlet_count; i++) {
		struct outlet *outlet = streams->outlets[i];
		uint64_t delivered =
		    wal_sinks_slot(&walproc->wal, outlet->place)->delivered;

		if (delivered > outlet->metered)
			meter_add(
			    &outlet->out, delivered - outlet->metered, now);
		outlet->metered = delivered;
	}
}

void
report_count(struct walproc *walproc)
{
	struct report *report = &walproc->report;
	uint64_t delivered = walproc->wal.cursor.slot.delivered;
	int64_t now;

	if (report->taken == walproc->taken && report->delivered == delivered &&
	    !walproc->wal.sinks.are_many)
		return;
	now = loop_now_ns();
	count_outlets(walproc, now);
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

/* Returns the word for how a breaker stands. */
static const char *
breaker_word(bool is_open)
{
	return is_open ? "open" : "closed";
}

/* Says whether nothing goes to a sink now. */
static bool
is_cut_off(const struct walproc *walproc, const struct outlet *outlet)
{
	return outlet->breaker_is_open || !outlet_has_sink(walproc, outlet);
}

/* Returns how many events a sink has and has not ended. */
static uint64_t
in_flight(const struct walproc *walproc, const struct outlet *outlet)
{
	return outlet_has_sink(walproc, outlet)
		   ? outlet->flight.sent - outlet->flight.acked
		   : 0;
}

/* Adds how the sinks stand together: the worst that there is. */
static void
put_breakers(cJSON *json, const struct walproc *walproc)
{
	const struct streams *streams = &walproc->streams;
	bool is_stopped = walproc->block != WALPROC_TAKING;
	bool is_open = false;
	struct msg msg;

	(void)cJSON_AddStringToObject(
	    json, "source_breaker", breaker_word(is_stopped));
	if (is_stopped) {
		block_put(walproc, &msg);
		(void)cJSON_AddStringToObject(
		    json, "source_breaker_reason", msg.reason);
	}
	for (size_t i = 0; i < streams->outlet_count; i++)
		is_open = is_open || is_cut_off(walproc, streams->outlets[i]);
	(void)cJSON_AddStringToObject(
	    json, "sink_breaker", breaker_word(is_open));
}

/* Says of the sources that are named, or of those that are not any more, how
 * they stand, as long as there is room in the list. */
static void
put_some_sources(cJSON *list, const struct streams *streams, bool are_leaving)
{
	for (size_t i = 0; i < streams->inlet_count; i++) {
		const struct inlet *inlet = streams->inlets[i];
		cJSON *source;

		if (inlet->is_leaving != are_leaving ||
		    cJSON_GetArraySize(list) >= CTLMSG_MAX_NAMES)
			continue;
		source = cJSON_CreateObject();
		(void)cJSON_AddItemToArray(list, source);
		(void)cJSON_AddStringToObject(source, "name", inlet->name);
		(void)cJSON_AddBoolToObject(
		    source, "present", inlet_has_source(inlet));
		counts_put_number(source, "taken", inlet->taken);
	}
}

static void
put_sources(cJSON *json, const struct walproc *walproc)
{
	cJSON *list = cJSON_AddArrayToObject(json, "sources");

	/* Of what is only read to its end there can be any number: a report
	 * that was too long would not be sent at all. */
	put_some_sources(list, &walproc->streams, false);
	put_some_sources(list, &walproc->streams, true);
}

static void
put_sinks(cJSON *json, struct walproc *walproc, int64_t now)
{
	struct streams *streams = &walproc->streams;
	cJSON *list = cJSON_AddArrayToObject(json, "sinks");

	for (size_t i = 0; i < streams->outlet_count; i++) {
		struct outlet *outlet = streams->outlets[i];
		const struct layout_cursor *slot =
		    wal_sinks_slot(&walproc->wal, outlet->place);
		cJSON *sink = cJSON_CreateObject();

		(void)cJSON_AddItemToArray(list, sink);
		(void)cJSON_AddStringToObject(sink, "name", outlet->name);
		(void)cJSON_AddBoolToObject(
		    sink, "present", outlet_has_sink(walproc, outlet));
		(void)cJSON_AddStringToObject(
		    sink, "breaker", breaker_word(is_cut_off(walproc, outlet)));
		counts_put_number(sink, "delivered", slot->delivered);
		counts_put_number(
		    sink, "stored", outlet_elements(walproc, outlet));
		counts_put_number(
		    sink, "in_flight", in_flight(walproc, outlet));
		counts_put_number(sink, "rejected", slot->rejected);
		counts_put_number(sink, "dropped", slot->dropped);
		counts_put_number(sink, "quarantined", slot->quarantined);
		(void)cJSON_AddNumberToObject(
		    sink, "out_rate", meter_rate(&outlet->out, now));
	}
}

/* Returns how many events the sinks have and have not ended. */
static uint64_t
all_in_flight(const struct walproc *walproc)
{
	const struct streams *streams = &walproc->streams;
	uint64_t sum = 0;

	for (size_t i = 0; i < streams->outlet_count; i++)
		sum += in_flight(walproc, streams->outlets[i]);
	return sum;
}

void
report_send(struct walproc *walproc)
{
	const struct wal *wal = &walproc->wal;
	struct counts counts = counts_of(&wal->cursor.slot, wal->next_seq - 1);
	int64_t now = loop_now_ns();
	cJSON *json;

	if (!streams_are_given(walproc))
		return;
	json = cJSON_CreateObject();
	counts_put(json, &counts);
	counts_put_number(json, "rejected", wal->cursor.slot.rejected);
	counts_put_number(json, "bytes", wal_bytes(wal));
	counts_put_number(json, "syncs", wal->syncs);
	counts_put_number(json, "in_flight", all_in_flight(walproc));
	put_oldest(json, walproc);
	(void)cJSON_AddBoolToObject(
	    json, "source", streams_have_source(walproc));
	(void)cJSON_AddBoolToObject(json, "sink", streams_have_sink(walproc));
	put_breakers(json, walproc);
	(void)cJSON_AddNumberToObject(
	    json, "in_rate", meter_rate(&walproc->report.in, now));
	(void)cJSON_AddNumberToObject(
	    json, "out_rate", meter_rate(&walproc->report.out, now));
	put_sources(json, walproc);
	put_sinks(json, walproc, now);
	control_report(&walproc->streams.control, json);
}
