package bench

import (
	"fmt"
	"io"
	"os"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// progress tells which scenario runs: in a line that changes on a terminal, else in
// a line of its own.
type progress struct {
	w   io.Writer
	bar *progressbar.ProgressBar // nil without a terminal, and between scenarios
}

// begin says that a scenario begins, the one after done others of all.
func (p *progress) begin(name string, done, all int) {
	f, ok := p.w.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		fmt.Fprintf(p.w, "%d/%d %s ...\n", done+1, all, name)
		return
	}
	p.bar = progressbar.NewOptions(all, progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription(name),
		progressbar.OptionShowCount(), progressbar.OptionSetElapsedTime(false), progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())
	_ = p.bar.Set(done)
	_ = p.bar.RenderBlank()
}

// around makes room for a line of output and then shows the progress again.
func (p *progress) around(write func()) {
	p.clear()
	write()
	if p.bar != nil {
		_ = p.bar.RenderBlank()
	}
}

func (p *progress) end() {
	p.clear()
	p.bar = nil
}

func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
