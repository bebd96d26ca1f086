package audit

import "context"

// pagesAhead is the number of pages that may be read and not checked yet.
const pagesAhead = 2

// readAhead calls read, which yields pages, and check with each of them, in order. While check has a page the server works on
// the next ones already. It returns when both have ended, with the first error.
func readAhead[P any](ctx context.Context, read func(ctx context.Context, yield func(P) error) error, check func(P) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pages := make(chan P, pagesAhead)
	var failed error // of read, once the pages are closed
	go func() {
		defer close(pages)
		failed = read(ctx, func(p P) error {
			select {
			case pages <- p:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	for p := range pages {
		if err := check(p); err != nil {
			cancel(err)
			for range pages { // until read has ended
			}
			return err
		}
	}
	return failed
}
