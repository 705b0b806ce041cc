//! Recurrences in chunks, of which as many are worked on at once as an adapter lets kernels bind.

use super::chunked::{
    Bound, Chunked, GateParams, Given, GivenPart, Gradients, Layout, Parts, Reads, backward_shaders, shaders,
};
use crate::kernel::{Kernel, compile};
use crate::ops::Scratch;
use crate::plan::{ChunkKernel, ChunkedBackwardPlan, ChunkedPlan, Mixed, PART_ALIGNMENT, TOKEN_ALIGNMENT};
use crate::spec::{Decay, Recurrence};
use crate::{Error, Gpu, Skip, Tensor};

/// A window of a recurrence: some chunks, and the tokens that are bound with them.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub chunked: Chunked,
    /// The first token that is bound, and the one after the last.
    tokens: [usize; 2],
    /// For each chunk its first step and its steps, among those tokens.
    chunks: Vec<[usize; 2]>,
    runs: Vec<u32>,
}

impl Window {
    /// Tokens that are bound.
    pub fn token_count(&self) -> usize {
        self.tokens[1] - self.tokens[0]
    }

    /// Where the same chunks lie among twice as many steps.
    pub fn doubled(&self, gpu: &Gpu) -> Result<Layout, Error> {
        let words: Vec<u32> = self.chunks.as_flattened().iter().map(|word| 2 * *word as u32).collect();
        Layout::of(gpu, &words, &self.runs)
    }
}

/// The states at the borders of windows.
#[derive(Clone, Copy)]
pub(super) struct Border<'a> {
    pub before: &'a wgpu::Buffer,
    pub after: &'a wgpu::Buffer,
}

/// The states with which a window begins, if there are any, and where it leaves its last.
pub(super) type Ends<'a> = (Option<&'a wgpu::Buffer>, &'a wgpu::Buffer);

/// The windows of a recurrence. States pass from one to the next, and their gradients back, through a state more than the
/// sequences have.
#[derive(Clone, Debug)]
pub(super) struct Split {
    of: Recurrence,
    pub all: Vec<Window>,
}

impl Split {
    /// As many chunks at once as a plan says.
    pub fn new(gpu: &Gpu, of: Recurrence, plan: &ChunkedPlan, whole: &Chunked) -> Result<Self, Error> {
        Ok(Self { all: split(gpu, &of, plan, whole)?, of })
    }

    fn one(&self) -> bool {
        self.all.len() == 1
    }

    /// Tokens of the window that binds most.
    pub fn most_tokens(&self) -> usize {
        self.all.iter().map(Window::token_count).max().unwrap_or(0)
    }

    /// The window with most chunks.
    pub fn widest(&self) -> &Window {
        &self.all[0]
    }

    /// Bytes of a state of all heads.
    fn state_bytes(&self) -> u64 {
        4 * (self.of.heads * self.of.cells()) as u64
    }

    /// Where the state lies that passes from window to window: behind those of the sequences.
    fn carry(&self) -> u64 {
        self.of.states() as u64 * self.state_bytes()
    }

    /// Shape of either side of a border.
    pub fn border_shape(&self) -> Vec<usize> {
        let (heads, cells) = (self.of.heads, self.of.cells());
        if self.one() { vec![0] } else { vec![self.of.states() + 1, heads, cells] }
    }

    /// Shape of what each window begins with.
    pub fn carries_shape(&self) -> Vec<usize> {
        vec![if self.one() { 0 } else { self.all.len() }, self.of.heads, self.of.cells()]
    }

    /// Records what each window does, from the first to the last.
    pub fn forward(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        (initial, last): Ends<'_>,
        border: Border<'_>,
        each: impl Fn(&mut wgpu::CommandEncoder, &Window, Ends<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.begin(encoder, initial, border);
        for window in &self.all {
            each(encoder, window, self.ends((initial, last), border))?;
            self.go_on(encoder, border);
        }
        self.end(encoder, border, last);
        Ok(())
    }

    /// Records the states of each window, and from the last to the first what it does once they are there. `ends` are those
    /// of states, then those of their gradients; `carries` keeps what windows begin with.
    pub fn backward(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        [(initial, last), (dlast, dinitial)]: [Ends<'_>; 2],
        ([border, dborder], carries): ([Border<'_>; 2], &wgpu::Buffer),
        states: impl Fn(&mut wgpu::CommandEncoder, &Window, Ends<'_>) -> Result<(), Error>,
        each: impl Fn(&mut wgpu::CommandEncoder, &Window, Ends<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let bytes = self.state_bytes();
        self.begin(encoder, initial, border);
        if let [earlier @ .., _] = &self.all[..] {
            // What each window but the first begins with.
            for (i, window) in (1..).zip(earlier) {
                states(encoder, window, self.ends((initial, last), border))?;
                self.go_on(encoder, border);
                encoder.copy_buffer_to_buffer(border.before, self.carry(), carries, i * bytes, bytes);
            }
        }
        self.begin(encoder, dlast, dborder);
        for (i, window) in self.all.iter().enumerate().rev() {
            if !self.one() {
                encoder.copy_buffer_to_buffer(carries, i as u64 * bytes, border.before, self.carry(), bytes);
            }
            states(encoder, window, self.ends((initial, last), border))?;
            each(encoder, window, self.ends((dlast, dinitial), dborder))?;
            self.go_on(encoder, dborder);
        }
        self.end(encoder, dborder, dinitial);
        Ok(())
    }

    /// What the first window begins with.
    fn begin(&self, encoder: &mut wgpu::CommandEncoder, initial: Option<&wgpu::Buffer>, border: Border<'_>) {
        if self.one() {
            return;
        }
        encoder.clear_buffer(border.before, 0, None);
        if let Some(initial) = initial {
            encoder.copy_buffer_to_buffer(initial, 0, border.before, 0, self.carry());
        }
    }

    fn ends<'a>(&self, whole: Ends<'a>, border: Border<'a>) -> Ends<'a> {
        if self.one() { whole } else { (Some(border.before), border.after) }
    }

    /// Passes the state on to the next window.
    fn go_on(&self, encoder: &mut wgpu::CommandEncoder, Border { before, after }: Border<'_>) {
        if !self.one() {
            encoder.copy_buffer_to_buffer(after, self.carry(), before, self.carry(), self.state_bytes());
        }
    }

    /// The states that all windows left of their sequences.
    fn end(&self, encoder: &mut wgpu::CommandEncoder, border: Border<'_>, last: &wgpu::Buffer) {
        if !self.one() {
            encoder.copy_buffer_to_buffer(border.after, 0, last, 0, self.carry());
        }
    }

    pub fn given<'a>(&self, given: &Given<'a>, window: &Window) -> GivenPart<'a> {
        let steps = given.steps.iter().enumerate().map(|(i, buffer)| {
            let of_steps = i == 0 || matches!(self.of.decay, Decay::Delta { .. });
            if of_steps { self.of_step(window, buffer) } else { (*buffer).into() }
        });
        GivenPart {
            x: self.of_x(window, given.x),
            b: self.of_b(window, given.b),
            c: self.of_b(window, given.c),
            z: self.of_x(window, given.z),
            steps: steps.collect(),
        }
    }

    pub fn of_x<'a>(&self, window: &Window, buffer: &'a wgpu::Buffer) -> Bound<'a> {
        self.part(window, buffer, self.of.heads * self.of.x_dim * self.of.dtype.bytes())
    }

    pub fn of_b<'a>(&self, window: &Window, buffer: &'a wgpu::Buffer) -> Bound<'a> {
        self.part(window, buffer, self.of.groups * self.of.b_dim * self.of.dtype.bytes())
    }

    /// What the decay of each step is made of, and its gradient.
    pub fn of_step<'a>(&self, window: &Window, buffer: &'a wgpu::Buffer) -> Bound<'a> {
        let heads = self.of.heads;
        match self.of.decay {
            Decay::Dt { .. } => self.part(window, buffer, heads * self.of.dtype.bytes()),
            Decay::Given { constant: true } => buffer.into(),
            Decay::Keyed => self.part(window, buffer, 4 * heads * self.of.b_dim),
            _ => self.part(window, buffer, 4 * heads),
        }
    }

    /// The tokens of a window, of so many bytes each, or the whole of a buffer that is not used.
    fn part<'a>(&self, window: &Window, buffer: &'a wgpu::Buffer, bytes: usize) -> Bound<'a> {
        let [first, end] = window.tokens.map(|token| token as u64 * bytes as u64);
        debug_assert!(first.is_multiple_of(PART_ALIGNMENT), "windows begin where parts may");
        let size = end.next_multiple_of(16) - first;
        if self.one() || first + size > buffer.size() {
            buffer.into()
        } else {
            Bound::part(buffer, first, size)
        }
    }
}

/// A recurrence window by window.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    pub gpu: Gpu,
    of: Recurrence,
    plan: ChunkedPlan,
    split: Split,
    scratch: Scratch,
}

impl Windows {
    pub fn forward(gpu: &Gpu, of: Recurrence, plan: ChunkedPlan) -> Result<Self, Error> {
        let kernels = compile(gpu, &shaders(&plan)?)?;
        Self::new(gpu, of, plan, ChunkedPlan::kernels().into_iter().zip(kernels).collect())
    }

    pub fn backward(gpu: &Gpu, of: Recurrence, plan: &ChunkedBackwardPlan) -> Result<Self, Error> {
        let kernels = compile(gpu, &backward_shaders(plan)?)?;
        Self::new(gpu, of, plan.forward, plan.kernels().into_iter().zip(kernels).collect())
    }

    fn new(
        gpu: &Gpu,
        of: Recurrence,
        plan: ChunkedPlan,
        kernels: Vec<(ChunkKernel, Kernel)>,
    ) -> Result<Self, Error> {
        let whole = Chunked::new(gpu, of.clone(), plan, kernels)?;
        let split = Split::new(gpu, of.clone(), &plan, &whole)?;
        Ok(Self { gpu: gpu.clone(), of, plan, split, scratch: Scratch::default() })
    }

    /// Shapes of records, states, totals, and of both sides of a border.
    fn shapes(&self) -> [Vec<usize>; 5] {
        let (records, states, totals) = self.split.widest().chunked.shared_shapes();
        let border = self.split.border_shape();
        [records.to_vec(), states.to_vec(), totals.to_vec(), border.clone(), border]
    }

    /// Records the recurrence: for each window steps, what chunks add to states, states from chunk to chunk, and results.
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        given: &Given<'_>,
        out: &wgpu::Buffer,
        last: &wgpu::Buffer,
    ) -> Result<(), Error> {
        let shapes = self.shapes();
        let between = self.scratch.tensors(&self.gpu, &shapes.each_ref().map(Vec::as_slice))?;
        let [records, states, totals, before, after] = [0, 1, 2, 3, 4].map(|i| between[i].buffer());
        let border = Border { before, after };
        self.split.forward(encoder, (given.initial, last), border, |encoder, window, ends| {
            let (of_window, chunked) = (self.split.given(given, window), &window.chunked);
            chunked.encode_states(encoder, &of_window, [records, states, totals], ends)?;
            let mut buffers = vec![of_window.c, of_window.b, of_window.x];
            buffers.extend([states, records, given.skip].map(Bound::from));
            buffers.push(self.split.of_x(window, out));
            if self.plan.gated {
                buffers.push(of_window.z);
            }
            chunked.mix(encoder, Mixed::Result, &buffers)
        })
    }

    /// Records the gradients, given those of the result and, if anything follows, of the last states.
    pub fn encode_backward(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        given: &Given<'_>,
        dout: &wgpu::Buffer,
        dlast: Option<&wgpu::Buffer>,
        gradients: &Gradients<'_>,
    ) -> Result<(), Error> {
        let buffers = self.backward_scratch()?;
        let buffers: Vec<_> = buffers.iter().map(Tensor::buffer).collect();
        let [records, states, totals, before, after, dstates, dbefore, dafter, last, within, dots, parts, y] =
            buffers[..13]
        else {
            unreachable!("scratch has as many tensors as shapes")
        };
        let (skips, carries) = (buffers[13], buffers[14]);
        let borders = [Border { before, after }, Border { before: dbefore, after: dafter }];
        let parts_of = Parts { within, dots, of_heads: parts };
        let windows = &self.split;
        windows.backward(
            encoder,
            [(given.initial, last), (dlast, gradients.initial)],
            (borders, carries),
            |encoder, window, ends| {
                let of_window = windows.given(given, window);
                window.chunked.encode_states(encoder, &of_window, [records, states, totals], ends)
            },
            |encoder, window, ends| {
                let (of_window, chunked) = (windows.given(given, window), &window.chunked);
                let dy = if self.plan.gated {
                    let buffers = [states, records, given.skip, y, dout];
                    self.through_gate(encoder, (window, &of_window), buffers, gradients)?;
                    y.into()
                } else {
                    windows.of_x(window, dout)
                };
                let [to_states, to_totals, from_records] = [dstates, totals, records].map(Bound::from);
                let summed = [dy, of_window.c, to_states, to_totals, from_records];
                chunked.sum_states(encoder, true, self.of.scale, &summed)?;
                chunked.pass(encoder, true, totals, dstates, ends)?;

                let (x, b, c) = (of_window.x, of_window.b, of_window.c);
                let reads = Reads { x, b, c, dy, states, dstates, records };
                let skip = given.skip.into();
                let dx = windows.of_x(window, gradients.x);
                chunked.mix(encoder, Mixed::X, &[b, c, dy, to_states, from_records, skip, dx])?;
                let [db, dc] = [gradients.b, gradients.c].map(|buffer| windows.of_b(window, buffer));
                chunked.encode_keys(encoder, &reads, parts_of, [db, dc])?;
                let of_step = windows.of_step(window, gradients.step);
                chunked.encode_steps(encoder, records, parts_of, &of_window.steps, &[of_step])?;
                if self.plan.skip {
                    chunked.skip_gradient(encoder, [x, dy, skips.into(), from_records])?;
                }
                Ok(())
            },
        )?;
        self.sum_heads(encoder, [parts, skips], gradients)
    }

    /// The tensors between the kernels of the gradients.
    fn backward_scratch(&self) -> Result<&[Tensor<f32>], Error> {
        let (of, split) = (&self.of, &self.split);
        let [records, states, totals, before, after] = self.shapes();
        let [within, dots, parts] = split.widest().chunked.parts_shapes();
        let tokens = split.most_tokens();
        let dots = vec![dots[0], tokens, dots[2], dots[3]];
        let skips = vec![if self.plan.skip { of.x_dim } else { 0 }, of.heads, self.plan.chunks as usize];
        let shapes = [
            records,
            states.clone(),
            totals,
            before.clone(),
            after.clone(),
            states,
            before,
            after,
            vec![of.states(), of.heads, of.cells()],
            within,
            dots,
            vec![2, parts[1], parts[2]],
            vec![if self.plan.gated { tokens * of.heads * of.x_dim } else { 0 }],
            skips,
            split.carries_shape(),
        ];
        self.scratch.tensors(&self.gpu, &shapes.each_ref().map(Vec::as_slice))
    }

    /// Records a window's gradient of the result before the gate, and that of the gate.
    fn through_gate(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        (window, given): (&Window, &GivenPart<'_>),
        [states, records, skip, y, dout]: [&wgpu::Buffer; 5],
        gradients: &Gradients<'_>,
    ) -> Result<(), Error> {
        let mut ungated = vec![given.c, given.b, given.x];
        ungated.extend([states, records, skip, y].map(Bound::from));
        window.chunked.mix(encoder, Mixed::Ungated, &ungated)?;
        let count = (window.token_count() * self.of.heads * self.of.x_dim) as u32;
        let params = GateParams { groups: count.div_ceil(4 * 64), count };
        let [dout, dz] = [dout, gradients.z].map(|buffer| self.split.of_x(window, buffer));
        window.chunked.run(encoder, ChunkKernel::Gate, &params, &[given.z, dout, y.into(), dz])
    }

    /// Records the gradients of what belongs to heads, from the parts of all chunks.
    fn sum_heads(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        [parts, skips]: [&wgpu::Buffer; 2],
        gradients: &Gradients<'_>,
    ) -> Result<(), Error> {
        let chunked = &self.split.widest().chunked;
        let (heads, x_dim, chunks) = (self.of.heads as u32, self.of.x_dim as u32, self.plan.chunks);
        for (i, sums) in (0..).zip(&gradients.heads) {
            chunked.sum_rows(encoder, parts, [heads, i * heads, chunks], sums)?;
        }
        let Some(skip) = gradients.skip else { return Ok(()) };
        let [groups, count] =
            if self.of.skip == Skip::PerChannel { [heads * x_dim, chunks] } else { [heads, x_dim * chunks] };
        chunked.sum_rows(encoder, skips, [groups, 0, count], skip)
    }
}

/// The windows of a plan, from the recurrence as a whole.
fn split(gpu: &Gpu, of: &Recurrence, plan: &ChunkedPlan, whole: &Chunked) -> Result<Vec<Window>, Error> {
    let carried = of.states() as u32;
    let mut windows = Vec::new();
    for first in (0..plan.chunks).step_by(plan.window as usize) {
        let end = plan.chunks.min(first + plan.window);
        let (mut chunks, mut runs, mut at) = (Vec::new(), Vec::new(), 0);
        let mut tokens = [usize::MAX, 0];
        for run in of.sequences.runs(of.batch, of.length) {
            let count = (run.steps.div_ceil(plan.chunk as usize) as u32).max(1);
            let own = [first.max(at), end.min(at + count)];
            if own[0] < own[1] {
                for chunk in own[0]..own[1] {
                    let start = (chunk - at) as usize * plan.chunk as usize;
                    let steps = (run.steps - start).min(plan.chunk as usize);
                    chunks.push([run.first + start, steps]);
                    tokens = [tokens[0].min(run.first + start), tokens[1].max(run.first + start + steps)];
                }
                let slot = |own: bool, state: Option<usize>| match (own, state) {
                    (false, _) => carried,
                    (true, Some(state)) => state as u32,
                    (true, None) => u32::MAX,
                };
                let [begins, ends] = [own[0] == at, own[1] == at + count];
                let [from, to] = own.map(|chunk| chunk - first);
                runs.extend([from, to, slot(begins, run.initial), slot(ends, run.last)]);
            }
            at += count;
        }
        let base = tokens[0] / TOKEN_ALIGNMENT * TOKEN_ALIGNMENT;
        let chunks: Vec<_> = chunks.iter().map(|&[start, steps]| [start - base, steps]).collect();
        let words: Vec<u32> = chunks.as_flattened().iter().map(|word| *word as u32).collect();
        let layout = Layout::of(gpu, &words, &runs)?;
        let bound = tokens[1].max(base) - base;
        windows.push(Window {
            chunked: whole.window(layout, [first, end], bound),
            tokens: [base, base + bound],
            chunks,
            runs,
        });
    }
    Ok(windows)
}
