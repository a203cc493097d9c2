#include "wssink/report.h"

#include "stage/loop.h"

#include <stdio.h>
#include <string.h>

/* Of the URL; the whole report has a limit. */
#define URL_BYTES 1024

/* Adds the URL without its query, which may hold secrets, and of which the one
 * for the log shows that there is one. */
static void
add_url(cJSON *report, const char *shown)
{
	char url[URL_BYTES];

	(void)snprintf(
	    url, sizeof(url), "%.*s", (int)strcspn(shown, "?"), shown);
	(void)cJSON_AddStringToObject(report, "url", url);
}

cJSON *
report_new(struct delivery *delivery, uint64_t rejected)
{
	static const char *const names[] = {
	    [WSLINK_DOWN] = "waiting",
	    [WSLINK_CONNECTING] = "connecting",
	    [WSLINK_UPGRADING] = "connecting",
	    [WSLINK_OPEN] = "open",
	    [WSLINK_CLOSING] = "closing",
	};
	const char *connection = names[wslink_state(delivery->link)];
	int64_t now = loop_now_ns();
	cJSON *report = cJSON_CreateObject();
	const struct {
		const char *name;
		uint64_t n;
	} counts[] = {
	    {"connection_ms",
		(uint64_t)((now - delivery->since_ns) / LOOP_NS_PER_MS)},
	    {"confirmed", delivery->confirmed},
	    {"rejected", rejected},
	    {"unconfirmed", delivery_unended(delivery)},
	    {"connects", delivery->connects},
	};

	(void)cJSON_AddStringToObject(report, "connection", connection);
	add_url(report, delivery->options->link.url.shown);
	if (delivery->was_lost)
		(void)cJSON_AddStringToObject(
		    report, "why", wslink_why(delivery->link));
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		(void)cJSON_AddNumberToObject(
		    report, counts[i].name, (double)counts[i].n);
	(void)cJSON_AddNumberToObject(
	    report, "rate", meter_rate(&delivery->meter, now));
	return report;
}
