#include "supervisor/outline.h"

#include "stage/mem.h"
#include "supervisor/document.h"

#include <stdlib.h>

/* Writes a command, which is freed, behind `mark`. Whatever its arguments hold,
 * it is one line, and a comment. */
static void
print_words(struct command *command, const char *mark, FILE *out)
{
	char *line = command_quote(command);

	if (command->count > 0)
		(void)fprintf(out, "#   %s %s\n", mark, line);
	free(line);
	command_fini(command);
}

/* Writes the ids of the stages of a kind. */
static void
print_ids(
    enum stage_kind kind, const struct config_instance *instance, FILE *out)
{
	for (size_t i = 0; i < command_stages(kind, instance); i++)
		(void)fprintf(out, "%s%s", i == 0 ? " " : ", ",
		    command_stage_id(kind, i, instance));
}

/* Writes where the log of an instance is. */
static void
print_log(const struct config_instance *instance,
    const struct command_context *context, FILE *out)
{
	struct command words = {0};

	words.argv = mem_calloc(2, sizeof(*words.argv));
	words.argv[words.count++] = mem_printf("%s/%s/%s", context->state_dir,
	    instance->instance.text, instance->binding->pipeline->id.text);
	print_words(&words, "log:", out);
}

/* Writes when each source is started again. */
static void
print_restarts(const struct config_binding *binding, FILE *out)
{
	for (size_t i = 0; i < binding->onramp_count; i++) {
		const struct config_onramp *onramp = binding->onramps[i];
		const char *when =
		    config_restart_name(config_restart_of(onramp));

		if (binding->onramp_count == 1)
			(void)fprintf(out, "#   restart of the %s: %s\n",
			    onramp->type.text, when);
		else
			(void)fprintf(out, "#   restart of the %s %s: %s\n",
			    onramp->type.text, onramp->id.text, when);
	}
}

/* Writes the command of a stage, if it has one. */
static void
print_command(enum stage_kind kind, size_t index,
    const struct config_instance *instance,
    const struct command_context *context, FILE *out)
{
	struct command command;

	command_init(&command, kind, index, instance, context);
	print_words(&command, "$", out);
}

static void
print_instance(const struct config_instance *instance,
    const struct command_context *context, FILE *out)
{
	const struct config_binding *binding = instance->binding;

	(void)fprintf(out, "# instance %s, binding %s: onramp",
	    instance->instance.text, binding->id.text);
	print_ids(STAGE_SOURCE, instance, out);
	(void)fprintf(
	    out, " -> pipeline %s -> offramp", binding->pipeline->id.text);
	print_ids(STAGE_SINK, instance, out);
	(void)fprintf(out, "\n");
	print_log(instance, context, out);
	print_restarts(binding, out);
	for (size_t i = 0; i < binding->onramp_count; i++) {
		print_command(STAGE_COMMAND, i, instance, context, out);
		print_command(STAGE_SOURCE, i, instance, context, out);
	}
	print_command(STAGE_WAL, 0, instance, context, out);
	for (size_t i = 0; i < binding->offramp_count; i++)
		print_command(STAGE_SINK, i, instance, context, out);
}

int
outline_print(const struct config *config,
    const struct command_context *context, FILE *out)
{
	for (size_t i = 0; i < config->instance_count; i++)
		print_instance(config->instances[i], context, out);
	(void)fputc('\n', out);
	document_print(config, out);
	return ferror(out) || fflush(out) == EOF ? -1 : 0;
}
