"""Every command, file, function and setting of the five published systems is on its page."""

from __future__ import annotations

from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "coming-from"
#: Facts about the published systems, as their code and documents name them.
NAMES = {
    "skinsight": """
        load_isic_data_info wget unzip PIL.verify cv2.imread train_test_split 70/15/15 np.random.seed
        tf.random.set_seed ImageDataGenerator preprocess_input flow_from_dataframe build_model_image_only
        mixed_float16 CONFIG IMG_SIZE BATCH_SIZE EPOCHS FINETUNE_LEARNING_RATE EARLY_STOPPING_PATIENCE
        REDUCE_LR_PATIENCE REDUCE_LR_FACTOR BASE_MODEL DROPOUT_RATE N_LAYERS_TO_UNFREEZE OPTIMIZER WEIGHT_DECAY
        LOSS_FUNCTION FOCAL_LOSS_ALPHA FOCAL_LOSS_GAMMA CLASS_WEIGHTS DATA_DIR IMAGE_SUBDIR METADATA_SUBDIR
        MODEL_SAVE_PATH CHECKPOINT_DIR CategoricalFocalCrossentropy compute_class_weight EarlyStopping
        ModelCheckpoint ReduceLROnPlateau model_epoch_ classification_report model.evaluate model.predict
        skin_lesion_model_image_only_finetuned.h5 ISIC_2019_Training_Input ISIC_2019_Training_Metadata.csv
        ISIC_2019_Training_GroundTruth.csv
    """,
    "devatreya": """
        download_data.py kaggle organize_data download_instructions.txt HAM10000_metadata.csv sample_metadata.csv
        ISIC_2019_Training_GroundTruth.csv prepare_data_split.py create_lesion_level_split LabelEncoder
        labels_binary_split.csv split_metadata.json data_exploration.py class_distribution_analysis.png
        demographic_analysis.png image_characteristics_analysis.png visualize_data_samples sample_images.png
        train_model.py --config --architecture --epochs --batch_size --learning_rate --pretrained --no_augmentation
        simple_cnn resnet50 vgg16 inception_v3 efficientnet data_path output_dir input_shape validation_split
        test_split fine_tune_layers dropout_rate binary_classification use_augmentation early_stopping_patience
        two_phase_training phase1_epochs phase2_unfreeze_layers use_sample_weights class_weight _best.h5 _final.h5
        _architecture.json training_config.json _config.json _test_results.json _training.csv CSVLogger TensorBoard
        _training_history.png val_probs.npz tune_threshold.py --run_dir --target_sensitivity threshold.json
        threshold_analysis.png infer.py --image_dir predictions.csv create_ensemble_model get_model_info summary()
        AttentionVisualizer generate_gradcam generate_saliency_map visualize_attention compare_attention_methods
        create_attention_visualization_pipeline ModelEvaluator calculate_metrics plot_confusion_matrix
        plot_roc_curve HyperparameterTuner grid_search random_search bayesian_optimization
    """,
    "skin-condition-assistant": """
        paths.py clean_data.py EDA.py image_engineering.py train_test_split.py model_training.py label_name
        ISIC_2019_Training_GroundTruth.csv FocalLoss EfficientNetB0PyTorch AddGaussianNoise GradScaler TF32 XLA
        DataParallel freeze_batchnorm _adjust_learning_rates ReduceLROnPlateau best_model_gradual.pth
        pytorch_model_gradual.pth pytorch_history_gradual.joblib skin_condition_model.keras
        skin_condition_model_history.joblib tensorflow_model_metrics.joblib training_gradual_unfreezing.png
        confusion_matrix_gradual.png top2_acc val_acc SavedModel num_classes=9 CLAHE
    """,
    "melanoma-analyzer": """
        prepdata.py load_data split_data balance_dataset prepare_dataset GroundTruth.csv prepared_dataset mel_aug_
        nomel_ 70/20/10 Albumentations CLAHE model.py SkinLesionModel CrossEntropyLoss AdamW ReduceLROnPlateau
        best_model.pth training_history.json analysis.py confusion_matrix.png classification_report.txt
        roc_curve.png precision_recall_curve.png learning_curves.png summary_report.txt app.py upload.html
        requirements.txt
    """,
    "dermalyze": """
        prepare_data.py --data-dir --output --metadata --skip-validation labels.csv HAM10000_metadata.csv
        HAM10000_metadata.tab metadata.csv config.yaml data.root data.images_dir data.labels_csv val_size test_size
        lesion_aware model.size num_classes image_size pretrained dropout_rate freeze_backbone freeze_layers
        unfreeze_backbone batch_size epochs weight_decay num_workers use_amp use_weighted_sampling
        training.augmentation early_stopping_patience scheduler T_0 T_mult eta_min warmup_pct focal_gamma alpha
        label_smoothing evaluation.metrics output.save_best_only output.log_interval SkinLesionClassifier
        predict_proba src/train.py --resume training.log _split.csv checkpoint_latest.pt checkpoint_best.pt
        checkpoint_epoch_N.pt training_history.json src/evaluate.py --checkpoint --test-csv --images-dir
        --batch-size --num-workers evaluation_metrics.json confusion_matrix.png confusion_matrix_raw.png
        roc_curves.png calibration_curve.png per_class_metrics.png SkinLesionPredictor predict_batch
        load_predictor get_class_info get_model_info DISCLAIMER include_disclaimer src/inference.py --image
        visualize_training.py check_fit.py training_analysis.png overfitting_analysis.txt config_warmup.yaml
        config_balanced.yml warmup_balanced_route.md
    """,
}


def test_every_system_has_a_page() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {*NAMES, "index"}


@pytest.mark.parametrize("page", NAMES)
def test_every_name_of_theirs_is_on_the_page(page: str) -> None:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    assert [name for name in NAMES[page].split() if name not in text] == []
