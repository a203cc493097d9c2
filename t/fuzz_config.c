/* Any bytes as a configuration: read, resolved, and made into commands. */
#include "supervisor/command.h"
#include "supervisor/config.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* A configuration that was accepted gives commands that can be run. */
static void
build_commands(const struct config *config)
{
	static const struct command_context context = {
	    .bin_dir = "/bin",
	    .state_dir = "/state",
	};

	assert(config->instance_count > 0);
	for (size_t i = 0; i < config->instance_count; i++) {
		const struct config_onramp *onramp =
		    config->instances[i]->binding->onramp;
		bool is_exec = config_source_of(onramp) == CONFIG_EXEC;

		for (int kind = 0; kind < STAGE_KINDS; kind++) {
			struct command command;
			char *line;

			command_init(&command, (enum stage_kind)kind,
			    config->instances[i], &context);
			line = command_quote(&command);
			/* The user's is there only where he gave one. */
			assert((strlen(line) > 0) ==
			       (kind != STAGE_COMMAND || is_exec));
			free(line);
			command_fini(&command);
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
	if (faults.count == 0)
		build_commands(&config);
	faults_fini(&notes);
	faults_fini(&faults);
	config_fini(&config);
	return 0;
}
