#include "supervisor/outline.h"

#include <stdlib.h>

/* Writes what is not as it is by default for all instances. */
static void
print_limits(const struct config *config, FILE *out)
{
	if (config->user.is_given)
		(void)fprintf(out, "#   user: %s\n", config->user.text);
	if (config->group.is_given)
		(void)fprintf(out, "#   group: %s\n", config->group.text);
	if (config->sandbox.number == 0)
		(void)fprintf(out, "#   sandbox: false\n");
}

/* Writes a command, which is freed. */
static void
print_command(struct command *command, FILE *out)
{
	char *line = command_quote(command);

	(void)fprintf(out, "%s\n", line);
	free(line);
	command_fini(command);
}

static void
print_instance(const struct config *config,
    const struct config_instance *instance,
    const struct command_context *context, FILE *out)
{
	const struct config_binding *binding = instance->binding;
	const struct config_onramp *onramp = binding->onramp;
	struct command command;

	(void)fprintf(out,
	    "# instance %s, binding %s: onramp %s -> pipeline %s -> "
	    "offramp %s\n",
	    instance->instance.text, binding->id.text, onramp->id.text,
	    binding->pipeline->id.text, binding->offramp->id.text);
	(void)fprintf(out, "#   log: %s/%s/%s\n", context->state_dir,
	    instance->instance.text, binding->pipeline->id.text);
	(void)fprintf(out, "#   restart of the %s: %s\n", onramp->type.text,
	    config_restart_name(config_restart_of(onramp)));
	print_limits(config, out);
	for (int kind = 0; kind < STAGE_KINDS; kind++) {
		command_init(
		    &command, (enum stage_kind)kind, instance, context);
		if (command.count > 0)
			print_command(&command, out);
	}
}

int
outline_print(const struct config *config,
    const struct command_context *context, FILE *out)
{
	for (size_t i = 0; i < config->instance_count; i++)
		print_instance(config, config->instances[i], context, out);
	return ferror(out) || fflush(out) == EOF ? -1 : 0;
}
