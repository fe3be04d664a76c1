/* Offers requests at a constant rate, whatever the server does, and prints what it did.

   paced PORT CONNECTIONS RATE WARM_UP SECONDS FILE

   Request number n is due n / RATE seconds after the start and goes out on the connection that
   has been free for the longest time. When none is free it waits, and its latency counts from
   when it was due, so that a server that stalls is not asked less. There are no bursts: the
   program never sleeps, and takes its core whole.

   Prints a line when the warm-up is over and another one when the last answer is here. Latency
   is that of requests from a little later on: who reads the first line looks at the server's
   CPU time then, and may do so on the server's core. With -DTLS it speaks TLS. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#ifdef TLS
#include <openssl/ssl.h>
#endif

#define ROOM 16384
#define GIVE_UP 1000000000ull /* ns after the last one was due */
#define LATER 50000000ull     /* ns from the first line to the first latency */

struct connection {
  int fd;
  size_t received;
  uint64_t due;
  int counts; /* it was due after the warm-up */
  int timed;  /* and a little later */
  struct connection *next_free;
#ifdef TLS
  SSL *ssl;
#endif
  char answer[ROOM + 1];
};

static char request[1 << 20];
static size_t request_size;
static struct connection *first_free, *last_free;

static void fail(const char *why) {
  printf("%s\n", why);
  exit(1);
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

static ssize_t receive(struct connection *c) {
#ifdef TLS
  int got = SSL_read(c->ssl, c->answer + c->received, (int)(ROOM - c->received));
  if (got <= 0 && SSL_get_error(c->ssl, got) == SSL_ERROR_WANT_READ) return -1;
  return got < 0 ? 0 : got;
#else
  ssize_t got = recv(c->fd, c->answer + c->received, ROOM - c->received, 0);
  return got < 0 && errno != EAGAIN ? 0 : got;
#endif
}

/* Requests are small and there is one at a time, so the kernel takes it whole. */
static void ask(struct connection *c) {
#ifdef TLS
  int sent = SSL_write(c->ssl, request, (int)request_size);
#else
  ssize_t sent = send(c->fd, request, request_size, MSG_NOSIGNAL);
#endif
  if (sent != (ssize_t)request_size) fail("a request could not be sent");
  c->received = 0;
}

/* Whether the whole answer is here. */
static int answered(struct connection *c) {
  c->answer[c->received] = 0;
  char *end = memmem(c->answer, c->received, "\r\n\r\n", 4);
  if (!end) return 0;
  if (memcmp(c->answer, "HTTP/1.1 200", 12)) fail("an answer was no 200");
  size_t head = (size_t)(end - c->answer) + 4;
  *end = 0;
  char *length = strcasestr(c->answer, "\r\ncontent-length:");
  *end = '\r';
  if (length) return c->received >= head + strtoul(length + 17, NULL, 10);
  return !memcmp(c->answer + c->received - 5, "0\r\n\r\n", 5); /* the last chunk */
}

static void connect_to(struct connection *c, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct timeval patience = {.tv_sec = 10};
  int one = 1;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) fail("no connection");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
#ifdef TLS
  static SSL_CTX *context;
  if (!context) context = SSL_CTX_new(TLS_client_method()); /* verifies nothing */
  c->ssl = SSL_new(context);
  SSL_set_fd(c->ssl, c->fd);
  if (SSL_connect(c->ssl) != 1) fail("no TLS");
#endif
  ask(c);
  while (!answered(c)) {
    ssize_t got = receive(c);
    if (!got) fail("a connection was closed");
    if (got < 0) fail("no answer came");
    c->received += (size_t)got;
  }
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

static void set_free(struct connection *c) {
  c->next_free = NULL;
  if (first_free)
    last_free->next_free = c;
  else
    first_free = c;
  last_free = c;
}

/* Beyond four seconds they are all the same. */
static uint32_t nanoseconds(uint64_t span) { return span < UINT32_MAX ? (uint32_t)span : UINT32_MAX; }

static int compare(const void *a, const void *b) {
  uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
  return (left > right) - (left < right);
}

static double part(uint32_t *sorted, size_t count, double share) {
  return count ? sorted[(size_t)(share * (double)(count - 1))] / 1e3 : 0.0;
}

int main(int argc, char **argv) {
  if (argc != 7) fail("paced PORT CONNECTIONS RATE WARM_UP SECONDS FILE");
  int port = atoi(argv[1]), count = atoi(argv[2]);
  double rate = atof(argv[3]), warm_up = atof(argv[4]), seconds = atof(argv[5]);
  FILE *file = fopen(argv[6], "rb");
  if (!file) fail("the file of the request cannot be opened");
  request_size = fread(request, 1, sizeof request, file);
  fclose(file);

  int poll = epoll_create1(0);
  struct connection *connections = calloc((size_t)count, sizeof *connections);
  size_t offered = (size_t)(rate * seconds), done = 0, sent = 0, timed = 0, waiting = 0;
  uint32_t *latency = calloc(offered + 1, sizeof *latency);
  uint32_t *lateness = calloc(offered + 1, sizeof *lateness);
  if (!connections || !latency || !lateness) fail("no memory");
  for (int n = 0; n < count; n++) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[n]};
    connect_to(&connections[n], port);
    epoll_ctl(poll, EPOLL_CTL_ADD, connections[n].fd, &event);
    set_free(&connections[n]);
  }

  double interval = 1e9 / rate;
  uint64_t start = now(), measured = start + (uint64_t)(warm_up * 1e9);
  uint64_t end = measured + (uint64_t)(seconds * 1e9), time = start, number = 0;
  int begun = 0;
  for (;;) {
    if (!begun && time >= measured) {
      begun = 1;
      puts("{}");
      fflush(stdout);
    }
    uint64_t due = start + (uint64_t)((double)number * interval);
    while (due <= time && due < end && first_free) {
      struct connection *c = first_free;
      first_free = c->next_free;
      c->due = due;
      c->counts = due >= measured;
      c->timed = due >= measured + LATER && sent < offered;
      ask(c);
      waiting++;
      time = now();
      if (c->timed) lateness[sent++] = nanoseconds(time - due);
      due = start + (uint64_t)((double)++number * interval);
    }
    struct epoll_event events[256];
    int ready = epoll_wait(poll, events, 256, 0);
    time = now();
    for (int n = 0; n < ready; n++) {
      struct connection *c = events[n].data.ptr;
      ssize_t got = receive(c);
      if (!got) fail("a connection was closed");
      if (got < 0) continue;
      c->received += (size_t)got;
      if (!answered(c)) {
        if (c->received == ROOM) fail("an answer is too long");
        continue;
      }
      done += (size_t)c->counts;
      if (c->timed) latency[timed++] = nanoseconds(time - c->due);
      waiting--;
      set_free(c);
    }
    if ((due >= end && !waiting) || time > end + GIVE_UP) break;
  }
  double lasted = (double)(time - measured) / 1e9;
  qsort(latency, timed, sizeof *latency, compare);
  qsort(lateness, sent, sizeof *lateness, compare);
  printf("{\"offered\": %zu, \"requests\": %zu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
         "\"p999_us\": %.1f, \"late_p99_us\": %.1f}\n",
         offered, done, lasted, part(latency, timed, 0.5), part(latency, timed, 0.99),
         part(latency, timed, 0.999), part(lateness, sent, 0.99));
  return 0;
}
