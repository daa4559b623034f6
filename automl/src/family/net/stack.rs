//! From a fold's flat list of weights to the tensors of all folds, and back.

use super::shape::NetShape;

/// One tensor `[fold, row, column]` of the folds' weights.
#[derive(Clone, Debug)]
pub(super) struct Stacked {
    pub(super) rows: usize,
    pub(super) columns: usize,
    runs: Vec<Run>,
}

/// Neighbouring numbers in a fold's list and in the tensor.
#[derive(Clone, Copy, Debug)]
struct Run {
    list: usize,
    tensor: usize,
    length: usize,
}

impl Stacked {
    fn whole(start: usize, rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            runs: vec![Run {
                list: start,
                tensor: 0,
                length: rows * columns,
            }],
        }
    }

    /// The tensor's numbers; 0 where the folds' lists have none.
    pub(super) fn pack(&self, folds: &[Vec<f32>]) -> Vec<f32> {
        let size = self.rows * self.columns;
        let mut values = vec![0.0; folds.len() * size];
        for (fold, values) in folds.iter().zip(values.chunks_exact_mut(size)) {
            for run in &self.runs {
                values[run.tensor..run.tensor + run.length]
                    .copy_from_slice(&fold[run.list..run.list + run.length]);
            }
        }
        values
    }

    /// The reverse of [`Stacked::pack`].
    pub(super) fn unpack(&self, values: &[f32], folds: &mut [Vec<f32>]) {
        let size = self.rows * self.columns;
        for (fold, values) in folds.iter_mut().zip(values.chunks_exact(size)) {
            for run in &self.runs {
                fold[run.list..run.list + run.length]
                    .copy_from_slice(&values[run.tensor..run.tensor + run.length]);
            }
        }
    }
}

/// The tensors of a network, weights and biases in turn, the embedding's first. An embedding's
/// columns are filled up with rows of zeros to the widest one: their inputs are 0 too, so they
/// stay 0.
pub(super) fn stacked(shape: &NetShape) -> Vec<Stacked> {
    let mut tensors = Vec::new();
    if let Some(embedding) = &shape.embedding {
        let width = embedding.width as usize;
        let widest = embedding.columns.iter().copied().max().unwrap_or(0) as usize;
        let mut list = 0;
        let runs = embedding.columns.iter().enumerate().map(|(at, column)| {
            let run = Run {
                list,
                tensor: at * widest * width,
                length: *column as usize * width,
            };
            list += run.length;
            run
        });
        tensors.push(Stacked {
            runs: runs.collect(),
            rows: embedding.columns.len() * widest,
            columns: width,
        });
        let biases = embedding.biases(shape.inputs);
        tensors.push(Stacked::whole(biases, 1, embedding.outputs()));
    }
    for layer in shape.layers() {
        tensors.push(Stacked::whole(layer.start, layer.inputs, layer.outputs));
        tensors.push(Stacked::whole(layer.biases(), 1, layer.outputs));
    }
    tensors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::net::Embedding;

    #[test]
    fn unpacking_undoes_packing_and_misses_no_weight() {
        let shape = NetShape {
            inputs: 6,
            embedding: Some(Embedding {
                columns: vec![1, 3, 2],
                width: 2,
            }),
            hidden: vec![4],
            outputs: 1,
        };
        let size = shape.parameters();
        assert_eq!(size, 6 * 2 + 3 * 2 + 6 * 4 + 4 + 4 + 1);
        let list = |from: usize| (from..from + size).map(|x| x as f32 + 1.0).collect();
        let folds: Vec<Vec<f32>> = vec![list(0), list(size)];
        let mut back = vec![vec![0.0; size]; 2];
        let tensors = stacked(&shape);
        assert_eq!(tensors.len(), 6);
        for tensor in &tensors {
            tensor.unpack(&tensor.pack(&folds), &mut back);
        }
        assert_eq!(back, folds);
        // The second column's rows lie behind three rows of the first, two of them empty.
        let packed = tensors[0].pack(&folds);
        assert_eq!(packed[..8], [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 4.0]);
    }
}
