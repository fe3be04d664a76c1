/* llhttp alone: its callbacks record spans, as ours do, and nothing else happens.
 *
 * The limit for a parser on llhttp. Compiled by parsers.py together with vendor/llhttp, with
 * the compiler flags of the extension. */

#include <stddef.h>
#include <string.h>

#include "llhttp.h"

enum { MAX_SPANS = 512 };

struct reading {
  llhttp_t llhttp;
  const char *base;
  size_t spans;
  size_t body_size;
  size_t messages;
  size_t fields; /* of the latest message */
  struct {
    size_t at;
    size_t size;
  } span[MAX_SPANS];
};

static int on_span(llhttp_t *parser, const char *at, size_t size) {
  struct reading *reading = (struct reading *)parser;
  size_t next = reading->spans;
  if (next == MAX_SPANS) return HPE_USER;
  reading->span[next].at = (size_t)(at - reading->base);
  reading->span[next].size = size;
  reading->spans = next + 1;
  return 0;
}

static int on_field_complete(llhttp_t *parser) {
  ((struct reading *)parser)->fields += 1;
  return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t size) {
  ((struct reading *)parser)->body_size += size;
  return on_span(parser, at, size);
}

static int on_message_begin(llhttp_t *parser) {
  struct reading *reading = (struct reading *)parser;
  reading->spans = reading->body_size = reading->fields = 0;
  return 0;
}

static int on_message_complete(llhttp_t *parser) {
  ((struct reading *)parser)->messages += 1;
  return 0;
}

__attribute__((visibility("default"))) long parse_repeatedly(const char *data, const size_t *sizes,
                                                             size_t pieces, long repetitions,
                                                             size_t *fields, size_t *body_size);

/* Parse the same pieces so many times on one connection. Stores fields and body size of the
 * last message, for a check, and returns the number of messages, or -1 - errno. */
long parse_repeatedly(const char *data, const size_t *sizes, size_t pieces, long repetitions,
                      size_t *fields, size_t *body_size) {
  struct reading reading;
  llhttp_settings_t settings;
  llhttp_settings_init(&settings);
  settings.on_message_begin = on_message_begin;
  settings.on_url = on_span;
  settings.on_header_field = on_span;
  settings.on_header_value = on_span;
  settings.on_header_value_complete = on_field_complete;
  settings.on_body = on_body;
  settings.on_message_complete = on_message_complete;
  memset(&reading, 0, sizeof reading);
  llhttp_init(&reading.llhttp, HTTP_REQUEST, &settings);
  for (long n = 0; n < repetitions; n++) {
    const char *at = data;
    reading.base = data;
    for (size_t piece = 0; piece < pieces; piece++) {
      llhttp_errno_t error = llhttp_execute(&reading.llhttp, at, sizes[piece]);
      if (error != HPE_OK) return -1 - (long)error;
      at += sizes[piece];
    }
  }
  *fields = reading.fields;
  *body_size = reading.body_size;
  return (long)reading.messages;
}
