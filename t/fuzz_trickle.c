/* Any bytes as a query: read, joined with what it needs, and printed. */
#include "t/round_trip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char rest[] = "onramp: [{id: m, type: metronome}]\n"
			   "offramp: [{id: w, type: ws, config: "
			   "{url: \"ws://h/\"}}]\n";

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct config config;
	struct faults faults, notes;

	config_init(&config);
	faults_init(&faults);
	faults_init(&notes);
	config_add_query(
	    &config, "fuzz.trickle", "/etc", "fuzz", data, bytes, &faults);
	config_add(&config, "rest.yaml", "/etc", (const uint8_t *)rest,
	    strlen(rest), &faults);
	if (faults.count == 0)
		config_finish(&config, &faults, &notes);
	if (faults.count == 0)
		round_trip_assert(&config);
	faults_fini(&notes);
	faults_fini(&faults);
	config_fini(&config);
	return 0;
}
