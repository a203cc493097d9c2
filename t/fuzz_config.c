/* Any bytes as a configuration: read, resolved, made into commands, and
 * printed. */
#include "supervisor/command.h"
#include "supervisor/config.h"
#include "t/round_trip.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Makes the command of one stage, whose program is there. */
static void
build_command(
    enum stage_kind kind, size_t index, const struct config_instance *instance)
{
	static const struct command_context context = {
	    .bin_dir = "/bin",
	    .state_dir = "/state",
	};
	struct command command;
	char *line;
	/* The user's is there only where he gave one. */
	bool is_wanted =
	    kind != STAGE_COMMAND ||
	    config_source_of(instance->binding->onramps[index]) == CONFIG_EXEC;

	command_init(&command, kind, index, instance, &context);
	line = command_quote(&command);
	assert((strlen(line) > 0) == is_wanted);
	free(line);
	command_fini(&command);
}

/* A configuration that was accepted gives commands that can be run. */
static void
build_commands(const struct config *config)
{
	assert(config->instance_count > 0);
	for (size_t i = 0; i < config->instance_count; i++) {
		const struct config_instance *instance = config->instances[i];

		for (int kind = 0; kind < STAGE_KINDS; kind++) {
			size_t count =
			    command_stages((enum stage_kind)kind, instance);

			assert(count > 0 && count <= CONFIG_MAX_LINKED);
			for (size_t j = 0; j < count; j++)
				build_command(
				    (enum stage_kind)kind, j, instance);
		}
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct config config;
	struct faults faults, notes;

	config_init(&config);
	faults_init(&faults);
	faults_init(&notes);
	config_add(&config, "fuzz.yaml", "/etc", data, bytes, &faults);
	if (faults.count == 0)
		config_finish(&config, &faults, &notes);
	if (faults.count == 0) {
		build_commands(&config);
		round_trip_assert(&config);
	}
	faults_fini(&notes);
	faults_fini(&faults);
	config_fini(&config);
	return 0;
}
